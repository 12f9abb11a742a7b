//! Sign-in with a password, and what a session is worth.

use std::net::IpAddr;

use portcullis::control::accounts::secret::Secret;
use portcullis::control::accounts::sessions::{Browser, SignedIn};
use portcullis::control::{ControlError, verify_trail};
use portcullis::domain::time::UnixSeconds;
use portcullis::model::member::Member;
use portcullis::store::Store;
use prometheus::Registry;
use serde_json::{Value, json};

use super::support::{Answer, NOW, OPERATOR, TRAIL_AGE, TempDir, TestControl};

const EMAIL: &str = "ada@example.com";
const HOUR: u64 = 3_600;

/// A server, an owner of a workspace on it, and the password they were given.
struct World {
    server: TestControl,
    owner: Member,
    password: String,
    _dir: TempDir,
}

impl World {
    async fn start() -> Self {
        let dir = TempDir::new();
        let server = TestControl::start(&dir).await;
        let workspace = server.control.workspaces.create(&OPERATOR, "Acme").await.unwrap();
        let owner = server
            .control
            .members
            .create_owner(&OPERATOR, &workspace.id, EMAIL)
            .await
            .unwrap();
        let password = server
            .control
            .passwords
            .set_new_password(&OPERATOR, &owner)
            .await
            .unwrap();
        Self {
            password: password.to_string(),
            server,
            owner,
            _dir: dir,
        }
    }

    async fn post_session(&self, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let mut all = vec![("Content-Type", "application/json")];
        all.extend(headers);
        self.server
            .send("POST", "/api/v1/session", &all, body.to_string().as_bytes())
            .await
    }

    async fn signed_in(&self) -> Session<'_> {
        let answer = self
            .post_session(&json!({"email": EMAIL, "password": self.password}), &[])
            .await;
        Session::of(&self.server, &answer)
    }

    async fn try_from(&self, email: &str, password: &str, from: &str) -> Result<SignedIn, ControlError> {
        self.server
            .control
            .sessions
            .sign_in(email, password, &browser(from, None))
            .await
    }
}

fn browser(from: &str, known_by: Option<Secret>) -> Browser {
    Browser {
        address: from.parse::<IpAddr>().unwrap(),
        user_agent: "test".to_owned(),
        known_by,
    }
}

/// A session as a browser holds it.
struct Session<'s> {
    server: &'s TestControl,
    cookie: String,
    csrf: String,
    id: String,
}

impl<'s> Session<'s> {
    #[track_caller]
    fn of(server: &'s TestControl, answer: &Answer) -> Self {
        assert_eq!(answer.status, 201, "{answer:?}");
        let set = answer.all("set-cookie");
        let session = set
            .iter()
            .find(|value| value.starts_with("__Host-portcullis="))
            .unwrap();
        Self {
            server,
            cookie: session.split(';').next().unwrap().to_owned(),
            csrf: answer.json()["csrf_token"].as_str().unwrap().to_owned(),
            id: answer.json()["id"].as_str().unwrap().to_owned(),
        }
    }

    async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut all = vec![
            ("Cookie", self.cookie.as_str()),
            ("Content-Type", "application/json"),
        ];
        all.extend(headers);
        let target = format!("/api/v1{path}");
        self.server.send(method, &target, &all, body.as_bytes()).await
    }

    async fn is_live(&self) -> bool {
        let answer = self.call("GET", "/session", &[], "").await;
        assert!([200, 401].contains(&answer.status), "{answer:?}");
        answer.status == 200
    }
}

const SAME_ORIGIN: (&str, &str) = ("Sec-Fetch-Site", "same-origin");

#[tokio::test]
async fn password_opens_a_session_that_the_management_api_takes() {
    let world = World::start().await;
    let answer = world
        .post_session(
            &json!({"email": " Ada@Example.com ", "password": world.password}),
            &[("User-Agent", "Browser/1.0")],
        )
        .await;
    let session = Session::of(&world.server, &answer);
    for cookie in answer.all("set-cookie") {
        assert!(
            cookie.contains("; Path=/; ") && cookie.ends_with("; HttpOnly; SameSite=Lax; Secure"),
            "{cookie}"
        );
    }
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let shown = session.call("GET", "/session", &[], "").await.json();
    assert_eq!(
        (&shown["email"], &shown["method"]),
        (&json!(EMAIL), &json!("password"))
    );
    assert_eq!(
        (&shown["user_agent"], &shown["address"]),
        (&json!("Browser/1.0"), &json!("127.0.0.1"))
    );
    assert_eq!(shown["csrf_token"], session.csrf);

    let path = format!("/workspaces/{}", world.owner.workspace);
    assert_eq!(session.call("GET", &path, &[], "").await.status, 200);
    let renamed = session
        .call("PATCH", &path, &[SAME_ORIGIN], r#"{"name":"New"}"#)
        .await;
    assert_eq!(renamed.json()["name"], "New");
    assert_eq!(
        session.call("GET", "/workspaces", &[], "").await.json()["items"][0]["name"],
        "New"
    );

    // What the browser holds is not what the store holds.
    let secret = session.cookie.split_once('=').unwrap().1;
    for file in ["store.db", "store.db-wal"] {
        let bytes = std::fs::read(world._dir.path().join(file)).unwrap_or_default();
        assert!(
            !bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes())
        );
    }
    let parsed = Secret::parse(secret).unwrap();
    assert!(!format!("{parsed:?}").contains(secret));
}

#[tokio::test]
async fn what_is_wrong_with_a_sign_in_is_not_told() {
    let world = World::start().await;
    let without = world
        .server
        .control
        .members
        .create_owner(&OPERATOR, &world.owner.workspace, "without@example.com")
        .await
        .unwrap();
    let registry = Registry::new();
    world.server.control.register_metrics(&registry).unwrap();
    let hashes = || {
        let families = registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == "portcullis_password_hashes_total");
        family.unwrap().get_metric()[0].get_counter().get_value()
    };
    let mut answers = Vec::new();
    for (email, password) in [
        (EMAIL, "not the password"),
        (without.email.as_str(), ""),
        (without.email.as_str(), "any password"),
        ("nobody@example.com", "any password"),
        ("no address", "any password"),
        (EMAIL, ""),
    ] {
        for _ in 0..3 {
            let before = hashes();
            let answer = world
                .post_session(&json!({"email": email, "password": password}), &[])
                .await;
            // It is what takes nearly all of the time, whatever the reason.
            assert!(hashes() - before > 0.5, "{email}");
            assert_eq!(answer.status, 401, "{email}");
            assert!(answer.all("set-cookie").is_empty());
            answers.push((answer.problem(), answer.body));
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn nothing_is_changed_for_a_page_that_is_not_ours() {
    let world = World::start().await;
    let session = world.signed_in().await;
    let path = format!("/workspaces/{}", world.owner.workspace);
    let host = world.server.address.to_string();
    let (own, by_host) = (world.server.issuer().to_owned(), format!("https://{host}"));
    let token = ("X-CSRF-Token", session.csrf.as_str());
    for (headers, status) in [
        (&[][..], 403),
        (&[("Sec-Fetch-Site", "cross-site")], 403),
        (&[("Sec-Fetch-Site", "same-site")], 403),
        (&[("Sec-Fetch-Site", "none")], 403),
        (&[("Origin", "https://evil.test")], 403),
        (&[("Origin", "null")], 403),
        (&[("Origin", "http://control.test")], 403),
        (&[("Origin", &own), ("Sec-Fetch-Site", "cross-site")], 403),
        (&[("X-CSRF-Token", "x")], 403),
        (&[("X-CSRF-Token", "")], 403),
        (
            &[("X-CSRF-Token", session.cookie.split_once('=').unwrap().1)],
            403,
        ),
        (&[SAME_ORIGIN], 200),
        (&[("Origin", &own)], 200),
        (&[("Origin", &by_host)], 200),
        (&[token], 200),
    ] {
        let answer = session.call("PATCH", &path, headers, r#"{"name":"New"}"#).await;
        assert_eq!(answer.status, status, "{headers:?}");
        if status == 403 {
            assert_eq!(answer.problem(), "cross-site-request");
        }
    }
}

#[tokio::test]
async fn session_speaks_for_no_page_but_its_own_and_api_tokens_need_no_page() {
    let world = World::start().await;
    let session = world.signed_in().await;
    let path = format!("/workspaces/{}", world.owner.workspace);
    // Another session's token is nobody's here.
    let other = world.signed_in().await;
    let answer = session
        .call(
            "PATCH",
            &path,
            &[("X-CSRF-Token", &other.csrf)],
            r#"{"name":"New"}"#,
        )
        .await;
    assert_eq!(answer.status, 403);
    // Signing in is changing something, too; scripts, which say nothing of a page, may.
    let body = json!({"email": EMAIL, "password": world.password});
    for (headers, status) in [
        (&[("Sec-Fetch-Site", "cross-site")][..], 403),
        (&[("Origin", "https://evil.test")], 403),
        (&[SAME_ORIGIN], 201),
    ] {
        assert_eq!(
            world.post_session(&body, headers).await.status,
            status,
            "{headers:?}"
        );
    }
    // A request with an API token is not a browser's, and a cookie adds nothing to a bad one.
    let api_token = world
        .server
        .control
        .api_tokens
        .create_api_token(&OPERATOR, &world.owner.id, "tests", None)
        .await
        .unwrap();
    let bearer = format!("Bearer {}", api_token.expose());
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Sec-Fetch-Site", "cross-site"),
    ];
    assert_eq!(
        session
            .call("PATCH", &path, &headers, r#"{"name":"New"}"#)
            .await
            .status,
        200
    );
    let headers = [("Authorization", "Bearer pcl_bad"), SAME_ORIGIN];
    assert_eq!(
        session
            .call("PATCH", &path, &headers, r#"{"name":"New"}"#)
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn sessions_end_when_they_should_and_not_before() {
    let world = World::start().await;

    // Each sign-in has a secret of its own, whatever the browser brought along.
    let first = world.signed_in().await;
    let answer = world
        .post_session(
            &json!({"email": EMAIL, "password": world.password}),
            &[("Cookie", &first.cookie)],
        )
        .await;
    let second = Session::of(&world.server, &answer);
    assert_ne!(
        (&first.cookie, &first.csrf, &first.id),
        (&second.cookie, &second.csrf, &second.id)
    );

    let listed = second.call("GET", "/sessions", &[], "").await.json();
    let ids: Vec<&Value> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["id"])
        .collect();
    assert_eq!(ids, [&json!(second.id), &json!(first.id)]);
    assert_eq!(listed["items"][0]["current"], true);

    // One is ended by another, then by itself.
    let path = format!("/sessions/{}", first.id);
    assert_eq!(second.call("DELETE", &path, &[SAME_ORIGIN], "").await.status, 204);
    assert!(!first.is_live().await && second.is_live().await);
    assert_eq!(second.call("DELETE", &path, &[SAME_ORIGIN], "").await.status, 404);
    let answer = second.call("DELETE", "/session", &[SAME_ORIGIN], "").await;
    assert!(answer.all("set-cookie")[0].starts_with("__Host-portcullis=; Path=/; Max-Age=0; "));
    assert!(!second.is_live().await);

    // Everywhere.
    let (here, there) = (world.signed_in().await, world.signed_in().await);
    let ended = here.call("DELETE", "/sessions", &[SAME_ORIGIN], "").await;
    assert_eq!(
        (ended.status, ended.json()),
        (200, json!({"sessions_ended": 2, "api_tokens_ended": 0}))
    );
    assert!(!here.is_live().await && !there.is_live().await);

    // Not used for two hours; and after twelve in any case.
    let (idle, busy) = (world.signed_in().await, world.signed_in().await);
    let mut now = NOW;
    for _ in 0..11 {
        now += HOUR - 60;
        world.server.clock.set(UnixSeconds(now));
        assert!(busy.is_live().await, "{}", now - NOW);
    }
    assert!(!idle.is_live().await);
    world.server.clock.set(UnixSeconds(NOW + 12 * HOUR));
    assert!(!busy.is_live().await);
}

#[tokio::test]
async fn sessions_end_with_the_password_that_opened_them() {
    let world = World::start().await;
    let control = &world.server.control;
    // With a new password.
    let held = world.signed_in().await;
    let password = control
        .passwords
        .set_new_password(&OPERATOR, &world.owner)
        .await
        .unwrap();
    assert!(!held.is_live().await);
    let refused = world.try_from(EMAIL, &world.password, "192.0.2.1").await;
    assert!(matches!(refused, Err(ControlError::SignInRefused)));
    assert!(world.try_from(EMAIL, &password, "192.0.2.1").await.is_ok());

    // With one that the person chose.
    let answer = world
        .post_session(&json!({"email": EMAIL, "password": *password}), &[])
        .await;
    let (own, elsewhere) = (
        Session::of(&world.server, &answer),
        world.try_from(EMAIL, &password, "192.0.2.1").await.unwrap(),
    );
    let change = async |current: &str, new: &str| {
        let body = json!({"current_password": current, "password": new}).to_string();
        own.call("PUT", "/session/password", &[SAME_ORIGIN], &body).await
    };
    assert_eq!(
        change("not it", "a new and long password").await.problem(),
        "sign-in-refused"
    );
    let answer = change(&password, "too short").await;
    assert_eq!(
        (answer.problem(), &answer.json()["field"]),
        ("invalid-value".to_owned(), &json!("password"))
    );
    assert!(own.is_live().await);
    let answer = change(&password, "a new and long password").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!own.is_live().await);
    assert!(
        control
            .sessions
            .authenticate_session(&elsewhere.secret)
            .await
            .is_err()
    );
    let refused = world.try_from(EMAIL, &password, "192.0.2.2").await;
    assert!(matches!(refused, Err(ControlError::SignInRefused)));
    assert!(
        world
            .try_from(EMAIL, "a new and long password", "192.0.2.2")
            .await
            .is_ok()
    );

    for cookie in [
        "__Host-portcullis=x",
        "__Host-portcullis=",
        "portcullis-on-http=x",
        &held.cookie,
    ] {
        let answer = world
            .server
            .send("GET", "/api/v1/session", &[("Cookie", cookie)], b"")
            .await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (401, "unauthenticated")
        );
    }
}

#[tokio::test]
async fn nobody_ends_or_sees_the_sessions_of_others() {
    let world = World::start().await;
    let other = world
        .server
        .control
        .members
        .create_owner(&OPERATOR, &world.owner.workspace, "bob@example.com")
        .await
        .unwrap();
    let password = world
        .server
        .control
        .passwords
        .set_new_password(&OPERATOR, &other)
        .await
        .unwrap();
    let victim = world.signed_in().await;
    let body = json!({"email": other.email, "password": *password});
    let attacker = Session::of(&world.server, &world.post_session(&body, &[]).await);
    let path = format!("/sessions/{}", victim.id);
    assert_eq!(
        attacker.call("DELETE", &path, &[SAME_ORIGIN], "").await.status,
        404
    );
    let listed = attacker.call("GET", "/sessions", &[], "").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        attacker
            .call("DELETE", "/sessions", &[SAME_ORIGIN], "")
            .await
            .status,
        200
    );
    assert!(victim.is_live().await);
}

#[tokio::test]
async fn guesser_is_held_up_and_the_person_is_not() {
    let world = World::start().await;
    let at_home = world.try_from(EMAIL, &world.password, "192.0.2.1").await.unwrap();
    let known = at_home.browser.unwrap();

    // One address: ten guesses, then one a minute, the right one like any other.
    let mut refused = 0;
    for _ in 0..12 {
        match world.try_from(EMAIL, "a guess", "198.51.100.1").await {
            Err(ControlError::SignInRefused) => refused += 1,
            Err(ControlError::TooManyFailures(wait)) => assert!(wait.seconds() <= 60),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 10);
    let right = world.try_from(EMAIL, &world.password, "198.51.100.1").await;
    assert!(matches!(right, Err(ControlError::TooManyFailures(_))));
    // From anywhere else the person comes in, with a new browser, too.
    assert!(
        world
            .try_from(EMAIL, &world.password, "203.0.113.9")
            .await
            .is_ok()
    );

    // Many addresses: the account as a whole is held up, but not its own browsers.
    let mut guessed = refused;
    'guessing: for host in 2..30 {
        for _ in 0..10 {
            match world
                .try_from(EMAIL, "a guess", &format!("198.51.100.{host}"))
                .await
            {
                Err(ControlError::SignInRefused) => guessed += 1,
                Err(ControlError::TooManyFailures(_)) => break 'guessing,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(guessed, 100);
    let stranger = world.try_from(EMAIL, &world.password, "203.0.113.77").await;
    assert!(matches!(stranger, Err(ControlError::TooManyFailures(_))));
    let control = &world.server.control;
    let own = control
        .sessions
        .sign_in(
            EMAIL,
            &world.password,
            &browser("198.51.100.1", Some(known.clone())),
        )
        .await;
    assert!(own.unwrap().browser.is_none(), "the browser is known already");
    // A known browser is no way round for guesses, nor into other accounts.
    for _ in 0..10 {
        let guess = control
            .sessions
            .sign_in(EMAIL, "a guess", &browser("192.0.2.1", Some(known.clone())))
            .await;
        assert!(matches!(guess, Err(ControlError::SignInRefused)));
    }
    let guess = control
        .sessions
        .sign_in(EMAIL, &world.password, &browser("192.0.2.1", Some(known)))
        .await;
    assert!(matches!(guess, Err(ControlError::TooManyFailures(_))));
    // An address that does not exist is held up like one that does.
    for _ in 0..10 {
        let guess = world
            .try_from("nobody@example.com", "a guess", "192.0.2.50")
            .await;
        assert!(matches!(guess, Err(ControlError::SignInRefused)));
    }
    let guess = world
        .try_from("nobody@example.com", "a guess", "192.0.2.50")
        .await;
    assert!(matches!(guess, Err(ControlError::TooManyFailures(_))));
}

#[tokio::test]
async fn server_on_plain_http_uses_names_that_browsers_take_there() {
    let dir = TempDir::new();
    let server = TestControl::start_with(&dir, |settings| {
        settings.public_url = "http://127.0.0.1:8081".to_owned();
    })
    .await;
    let workspace = server.control.workspaces.create(&OPERATOR, "Acme").await.unwrap();
    let owner = server
        .control
        .members
        .create_owner(&OPERATOR, &workspace.id, EMAIL)
        .await
        .unwrap();
    let password = server
        .control
        .passwords
        .set_new_password(&OPERATOR, &owner)
        .await
        .unwrap();
    let body = json!({"email": EMAIL, "password": *password}).to_string();
    let headers = [("Content-Type", "application/json")];
    let answer = server
        .send("POST", "/api/v1/session", &headers, body.as_bytes())
        .await;
    let cookies = answer.all("set-cookie");
    let session = cookies
        .iter()
        .find(|cookie| cookie.starts_with("portcullis-on-http="))
        .unwrap();
    assert!(session.ends_with("; HttpOnly; SameSite=Lax"), "{session}");
    let cookie = session.split(';').next().unwrap();
    for (cookie, status) in [
        (cookie.to_owned(), 200),
        (cookie.replace("portcullis-on-http", "__Host-portcullis"), 401),
    ] {
        let answer = server
            .send("GET", "/api/v1/session", &[("Cookie", &cookie)], b"")
            .await;
        assert_eq!(answer.status, status, "{cookie}");
    }
}

#[tokio::test]
async fn csrf_token_belongs_to_one_session_and_tells_nothing_of_it() {
    let one = Secret::parse(&"a".repeat(43)).unwrap();
    let other = Secret::parse(&"b".repeat(43)).unwrap();
    assert!(one.owns_csrf_token(&one.csrf_token()));
    for token in [&other.csrf_token(), one.expose(), "", &one.csrf_token()[1..]] {
        assert!(!one.owns_csrf_token(token));
    }
    for bad in [
        "",
        "a",
        &"a".repeat(42),
        &"a".repeat(44),
        &"ä".repeat(43),
        &"-".repeat(43),
    ] {
        assert!(Secret::parse(bad).is_none());
    }
}

/// What the trail says of an account: action, address, resource's id and name, and what was there before or after.
type AccountEvent = (String, Option<String>, String, String, Value);

async fn account_events(world: &World) -> Vec<AccountEvent> {
    type Row = (
        String,
        Option<String>,
        String,
        String,
        Option<String>,
        Option<String>,
    );
    let mut sql = world._dir.sql().await;
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT action, address, resource_id, resource_name, changed_from, changed_to FROM audit_events \
         WHERE actor_id = 'sign-in' ORDER BY position",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    rows.into_iter()
        .map(|(action, address, id, name, from, to)| {
            let said = from.or(to).unwrap();
            (action, address, id, name, serde_json::from_str(&said).unwrap())
        })
        .collect()
}

/// What the trail says after the story below.
fn expected(account: &str) -> Vec<AccountEvent> {
    let event = |action: &str, from: &str, id: &str, name: &str, said: Value| {
        let text = str::to_owned;
        (text(action), Some(text(from)), text(id), text(name), said)
    };
    let own = |action: &str, said: Value| event(action, "127.0.0.1", account, EMAIL, said);
    let refused = |from: &str, id: &str, name: &str, attempts: u64| {
        let said = json!({"attempts": attempts, "first_at": NOW});
        event("account.sign_in_refused", from, id, name, said)
    };
    vec![
        own("account.signed_in", json!({"method": "password"})),
        refused("192.0.2.8", "", "", 2),
        refused("192.0.2.7", account, EMAIL, 3),
        own("account.signed_in", json!({"method": "password"})),
        own("account.signed_out", json!({"session": "another one"})),
        own("account.signed_out", json!({"session": "this one"})),
    ]
}

#[tokio::test]
async fn trail_tells_of_sign_ins_and_sign_outs_and_no_policy_version_does() {
    let world = World::start().await;
    let control = &world.server.control;
    let version = control.fleet.snapshot().await.unwrap().version;
    let session = world.signed_in().await;
    for _ in 0..3 {
        assert!(
            world
                .try_from(EMAIL, "not the password", "192.0.2.7")
                .await
                .is_err()
        );
    }
    for email in ["a password, typed in the wrong place", "nobody@example.com"] {
        assert!(world.try_from(email, "any password", "192.0.2.8").await.is_err());
    }
    control.refused_sign_ins.flush_refusals().await;
    let other = world.signed_in().await;
    let path = format!("/sessions/{}", other.id);
    let ended = session.call("DELETE", &path, &[SAME_ORIGIN], "").await;
    assert_eq!(ended.status, 204);
    assert_eq!(
        session.call("DELETE", &path, &[SAME_ORIGIN], "").await.status,
        404
    );
    assert_eq!(
        session
            .call("DELETE", "/session", &[SAME_ORIGIN], "")
            .await
            .status,
        204
    );
    assert_eq!(control.fleet.snapshot().await.unwrap().version, version);

    let mut events = account_events(&world).await;
    // Those of nobody's and of an account are written in any order.
    events[1..3].sort_by_key(|event| event.2.clone());
    assert_eq!(events, expected(world.owner.account.as_str()));
    let store = Store::open_to_read(&world._dir.store()).await.unwrap();
    let report = verify_trail(&store, None, &TRAIL_AGE).await.unwrap();
    store.close().await;
    assert!(report.faults.is_empty(), "{:?}", report.faults);
}

#[tokio::test]
async fn refused_sign_ins_do_not_fill_the_trail() {
    let world = World::start().await;
    let control = &world.server.control;
    for at in 0..66_u64 {
        // Slowly enough for the limits on guessing, of which this is not about.
        world.server.clock.set(UnixSeconds(NOW + at / 8));
        let from = format!("192.0.2.{at}");
        assert!(
            world
                .try_from("nobody@example.com", "any password", &from)
                .await
                .is_err()
        );
        control.refused_sign_ins.flush_refusals().await;
    }
    let written = account_events(&world).await.len();
    assert_eq!(written, 60, "one each, until there were too many");
    world.server.clock.set(UnixSeconds(NOW + 120));
    control.refused_sign_ins.flush_refusals().await;
    let events = account_events(&world).await;
    assert_eq!(events.len(), written + 1);
    assert_eq!(events[written].4["attempts"], 6, "none is forgotten");
}
