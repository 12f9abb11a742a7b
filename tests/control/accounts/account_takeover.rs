//! Account takeover: using another person's address grants the inviting workspace, and nothing else.

use portcullis::control::ControlError;
use portcullis::domain::ids::WorkspaceId;
use prometheus::Registry;
use serde_json::{Value, json};

use crate::support::{Answer, OPERATOR, TempDir, Tenant, TestControl, session_cookie};

const EMAIL: &str = "ada@example.com";
const EVES: &str = "the password that Eve chose";
const ADAS: &str = "the password that Ada chose";
const SAME_ORIGIN: (&str, &str) = ("Sec-Fetch-Site", "same-origin");

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

async fn post(server: &TestControl, path: &str, body: &Value) -> Answer {
    let headers = [("Content-Type", "application/json")];
    server
        .send("POST", path, &headers, body.to_string().as_bytes())
        .await
}

async fn invite(tenant: &Tenant<'_>, email: &str) -> Answer {
    let body = json!({"email": email, "roles": [{"role": "workspace_owner"}]});
    tenant.call("POST", "/members", Some(body)).await
}

async fn accept(server: &TestControl, secret: &str, password: &str) -> Answer {
    let body = json!({"secret": secret, "password": password});
    post(server, "/api/v1/invitations/accept", &body).await
}

/// Somebody takes an invitation of the address into the workspace.
async fn join(tenant: &Tenant<'_>, password: &str) -> Answer {
    let invited = invite(tenant, EMAIL).await;
    assert_eq!(invited.status, 201, "{invited:?}");
    let secret = text(&invited.json()["invitation"]["secret"]);
    accept(tenant.server, &secret, password).await
}

/// A browser that is signed in.
struct Session<'s> {
    server: &'s TestControl,
    cookie: String,
}

impl<'s> Session<'s> {
    async fn open(server: &'s TestControl, password: &str) -> Option<Self> {
        let body = json!({"email": EMAIL, "password": password});
        let answer = post(server, "/api/v1/session", &body).await;
        assert!([201, 401].contains(&answer.status), "{answer:?}");
        let cookies = answer.all("set-cookie");
        let session = cookies.iter().find(|set| set.starts_with("__Host-portcullis="));
        session.map(|set| Self {
            server,
            cookie: set.split(';').next().unwrap().to_owned(),
        })
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        let headers = [
            ("Cookie", self.cookie.as_str()),
            ("Content-Type", "application/json"),
            SAME_ORIGIN,
        ];
        let target = format!("/api/v1{path}");
        self.server.send(method, &target, &headers, body.as_bytes()).await
    }

    /// The ids of the workspaces that it opens.
    async fn workspaces(&self) -> Vec<String> {
        ids(&self.call("GET", "/workspaces", "").await)
    }
}

#[track_caller]
fn ids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let items = answer.json()["items"].clone();
    let items = items.as_array().unwrap().iter();
    items.map(|item| text(&item["id"])).collect()
}

async fn with_token(server: &TestControl, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
    ];
    let target = format!("/api/v1{path}");
    server.send(method, &target, &headers, body.as_bytes()).await
}

#[tokio::test]
async fn squatted_address_does_not_lock_out_its_owner() {
    for squatter_first in [true, false] {
        let dir = TempDir::new();
        let server = TestControl::start(&dir).await;
        let (eves, real) = (server.workspace().await, server.workspace().await);
        let pair = [(&eves, EVES), (&real, ADAS)];
        let order = if squatter_first { pair } else { [pair[1], pair[0]] };
        for (tenant, password) in order {
            let joined = join(tenant, password).await;
            assert_eq!(joined.status, 200, "{squatter_first}: locked out: {joined:?}");
        }
        let eve = Session::open(&server, EVES).await.unwrap();
        let ada = Session::open(&server, ADAS).await.unwrap();
        assert_eq!(eve.workspaces().await, [eves.id.to_string()]);
        assert_eq!(ada.workspaces().await, [real.id.to_string()]);

        let path = format!("/workspaces/{}/api-tokens", eves.id);
        let made = eve.call("POST", &path, r#"{"name": "kept"}"#).await;
        assert_eq!(made.status, 201, "{made:?}");
        let token = text(&made.json()["token"]);
        let theirs = format!("/workspaces/{}", real.id);
        assert_eq!(eve.call("GET", &theirs, "").await.status, 404);
        assert_eq!(with_token(&server, &token, "GET", &theirs, "").await.status, 404);
        // An address that nobody proved to own makes no further workspaces, either.
        let made = eve.call("POST", "/workspaces", r#"{"name": "More"}"#).await;
        assert_eq!(
            (made.status, made.problem().as_str()),
            (403, "address-unverified")
        );

        // What Eve does with her account is none of Ada's.
        let body = json!({"current_password": EVES, "password": "another password of Eve"}).to_string();
        assert_eq!(eve.call("PUT", "/session/password", &body).await.status, 200);
        assert!(Session::open(&server, ADAS).await.is_some());
        assert_eq!(ada.workspaces().await, [real.id.to_string()]);
    }
}

#[tokio::test]
async fn password_reset_ends_every_token_and_session_set_before() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let eves = server.workspace().await;
    assert_eq!(join(&eves, EVES).await.status, 200);
    let eve = Session::open(&server, EVES).await.unwrap();
    let path = format!("/workspaces/{}/api-tokens", eves.id);
    let made = eve.call("POST", &path, r#"{"name": "kept"}"#).await;
    let token = text(&made.json()["token"]);
    let own = format!("/workspaces/{}", eves.id);
    assert_eq!(with_token(&server, &token, "GET", &own, "").await.status, 200);

    let reset = server
        .control
        .passwords
        .reset_password(&OPERATOR, EMAIL, ADAS, &[]);
    let ended = reset.await.unwrap().ended;
    assert_eq!((ended.sessions, ended.api_tokens), (1, 1));
    assert_eq!(eve.call("GET", "/session", "").await.status, 401);
    assert!(Session::open(&server, EVES).await.is_none());
    assert_eq!(
        with_token(&server, &token, "GET", &own, "").await.status,
        401,
        "the token of the earlier account"
    );
    assert!(Session::open(&server, ADAS).await.is_some());
}

#[tokio::test]
async fn api_token_reaches_one_workspace_and_nothing_of_the_account() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (one, two) = (server.workspace().await, server.workspace().await);
    let mut tokens = Vec::new();
    for tenant in [&one, &two] {
        let member = server
            .control
            .members
            .create_owner(&OPERATOR, &tenant.id, EMAIL)
            .await
            .unwrap();
        let token = server
            .control
            .api_tokens
            .create_api_token(&OPERATOR, &member.id, "tests", None);
        tokens.push(token.await.unwrap().expose().to_owned());
    }
    let token = tokens[0].as_str();
    let call =
        async |method: &str, path: &str, body: &str| with_token(&server, token, method, path, body).await;
    assert_eq!(
        call("GET", &format!("/workspaces/{}", one.id), "").await.status,
        200
    );
    for path in [
        "",
        "/members",
        "/apps",
        "/sources",
        "/api-tokens",
        "/audit-events",
    ] {
        let answer = call("GET", &format!("/workspaces/{}{path}", two.id), "").await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (404, "not-found"),
            "{path}"
        );
    }
    assert_eq!(ids(&call("GET", "/workspaces", "").await), [one.id.to_string()]);
    let made = call("POST", "/workspaces", r#"{"name": "More"}"#).await;
    assert_eq!((made.status, made.problem().as_str()), (403, "session-required"));
    let path = format!("/workspaces/{}/api-tokens", one.id);
    let made = call("POST", &path, r#"{"name": "more"}"#).await;
    assert_eq!((made.status, made.problem().as_str()), (403, "session-required"));
    for (method, path) in [
        ("GET", "/session"),
        ("DELETE", "/session"),
        ("PUT", "/session/password"),
        ("GET", "/sessions"),
        ("DELETE", "/sessions"),
    ] {
        assert_eq!(call(method, path, "{}").await.status, 401, "{method} {path}");
    }
    // Nor does it learn of the other workspace's access tokens.
    let app = two.app().await;
    let introspected = async |token: &str| {
        let authorization = format!("Bearer {token}");
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        let form = format!("token={}", app.token().await);
        let answer = server
            .send("POST", "/introspect", &headers, form.as_bytes())
            .await;
        answer.json()["active"].clone()
    };
    assert_eq!(introspected(&tokens[1]).await, true);
    assert_eq!(introspected(token).await, false);
}

#[tokio::test]
async fn invitation_reveals_no_other_account() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (asking, other) = (server.workspace().await, server.workspace().await);
    // Known by a password, by what the operator made, only invited, and to nobody.
    let control = &server.control;
    let known = control
        .members
        .create_owner(&OPERATOR, &other.id, "known@example.com")
        .await
        .unwrap();
    control
        .passwords
        .set_new_password(&OPERATOR, &known)
        .await
        .unwrap();
    control
        .members
        .create_owner(&OPERATOR, &other.id, "without@example.com")
        .await
        .unwrap();
    let joined = invite(&other, "joined@example.com").await.json();
    accept(&server, &text(&joined["invitation"]["secret"]), ADAS).await;
    invite(&other, "invited@example.com").await;
    let mut answers = Vec::new();
    for email in [
        "nobody@example.com",
        "known@example.com",
        "without@example.com",
        "joined@example.com",
        "invited@example.com",
    ] {
        let invited = invite(&asking, email).await;
        let body = invited.json();
        let (id, secret) = (text(&body["id"]), text(&body["invitation"]["secret"]));
        let weak = accept(&server, &secret, "short").await;
        let taken = accept(&server, &secret, EVES).await;
        let used = accept(&server, &secret, EVES).await;
        let again = invite(&asking, email).await;
        let said = [invited, weak, taken, used, again].map(|answer| {
            let text = answer.text();
            let text = text
                .replace(email, "EMAIL")
                .replace(&id, "ID")
                .replace(&secret, "SECRET");
            (answer.status, text)
        });
        answers.push(said);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
}

/// The password hashes that the server has computed.
fn hashes(server: &TestControl) -> f64 {
    let registry = Registry::new();
    server.control.register_metrics(&registry).unwrap();
    let families = registry.gather();
    let family = families
        .iter()
        .find(|family| family.name() == "portcullis_password_hashes_total");
    family.unwrap().get_metric()[0].get_counter().get_value()
}

#[tokio::test]
async fn sign_in_computes_one_hash_for_many_accounts() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let mut tenants = Vec::new();
    for at in 0..5 {
        let tenant = server.workspace().await;
        assert_eq!(
            join(&tenant, &format!("the password of number {at}"))
                .await
                .status,
            200
        );
        tenants.push(tenant);
    }
    let before = hashes(&server);
    for (at, tenant) in tenants.iter().enumerate() {
        let session = Session::open(&server, &format!("the password of number {at}")).await;
        assert_eq!(session.unwrap().workspaces().await, [tenant.id.to_string()]);
    }
    assert!(Session::open(&server, "the password of nobody").await.is_none());
    assert_eq!(hashes(&server) - before, 6.0);
}

#[tokio::test]
async fn password_of_several_accounts_opens_the_named_workspace() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (one, two) = (server.workspace().await, server.workspace().await);
    for tenant in [&one, &two] {
        assert_eq!(join(tenant, ADAS).await.status, 200);
    }
    let first = Session::open(&server, ADAS).await.unwrap();
    assert_eq!(first.workspaces().await, [one.id.to_string()], "the oldest");
    for tenant in [&one, &two] {
        let body = json!({"email": EMAIL, "password": ADAS, "workspace": tenant.id.as_str()});
        let opened = post(&server, "/api/v1/session", &body).await;
        let session = Session {
            server: &server,
            cookie: session_cookie(&opened),
        };
        assert_eq!(session.workspaces().await, [tenant.id.to_string()]);
    }
    // A workspace that it does not fit is no way to learn who is where.
    let body = json!({"email": EMAIL, "password": EVES, "workspace": two.id.as_str()});
    assert_eq!(post(&server, "/api/v1/session", &body).await.status, 401);
}

#[tokio::test]
async fn known_browser_counts_for_its_own_account_only() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (eves, real) = (server.workspace().await, server.workspace().await);
    assert_eq!(join(&eves, EVES).await.status, 200);
    assert_eq!(join(&real, ADAS).await.status, 200);
    let body = |password: &str| json!({"email": EMAIL, "password": password});
    let opened = post(&server, "/api/v1/session", &body(EVES)).await;
    let cookies = opened.all("set-cookie");
    let browser = cookies
        .iter()
        .find(|set| set.starts_with("__Host-portcullis-browser="));
    let browser = browser.unwrap().split(';').next().unwrap().to_owned();
    let from_browser = async |password: &str| {
        let headers = [("Cookie", browser.as_str()), ("Content-Type", "application/json")];
        let body = body(password).to_string();
        let answer = server
            .send("POST", "/api/v1/session", &headers, body.as_bytes())
            .await;
        answer.status
    };
    // Strangers use up what may be tried at the address from here.
    for _ in 0..10 {
        assert_eq!(
            post(&server, "/api/v1/session", &body("a guess")).await.status,
            401
        );
    }
    assert_eq!(post(&server, "/api/v1/session", &body(ADAS)).await.status, 429);
    assert_eq!(
        from_browser(ADAS).await,
        401,
        "a guess at another account is not let through"
    );
    assert_eq!(from_browser(EVES).await, 201);
}

#[tokio::test]
async fn password_reset_takes_over_named_workspaces() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (eves, one, two) = (
        server.workspace().await,
        server.workspace().await,
        server.workspace().await,
    );
    assert_eq!(join(&eves, EVES).await.status, 200);
    for tenant in [&one, &two] {
        assert_eq!(join(tenant, ADAS).await.status, 200);
    }
    let reset = async |workspaces: &[WorkspaceId]| {
        let reset =
            server
                .control
                .passwords
                .reset_password(&OPERATOR, EMAIL, "set by the operator", workspaces);
        reset.await
    };
    let refused = reset(&[]).await.unwrap_err().to_string();
    assert!(
        refused.contains("--workspace") && refused.contains(eves.id.as_str()),
        "{refused}"
    );
    let other = server.workspace().await;
    assert!(matches!(
        reset(std::slice::from_ref(&other.id)).await,
        Err(ControlError::NotFound(_))
    ));
    let done = reset(&[one.id.clone(), two.id.clone()]).await.unwrap();
    assert_eq!(done.taken_over, [one.id.clone(), two.id.clone()]);
    let ada = Session::open(&server, "set by the operator").await.unwrap();
    let mut both = [one.id.to_string(), two.id.to_string()];
    both.sort();
    assert_eq!(ada.workspaces().await, both);
    assert!(Session::open(&server, ADAS).await.is_none());
    // A verified person makes workspaces, and accepts invitations as themselves.
    assert_eq!(
        ada.call("POST", "/workspaces", r#"{"name": "More"}"#)
            .await
            .status,
        201
    );
    let invited = invite(&other, EMAIL).await.json();
    let body = json!({"secret": invited["invitation"]["secret"]}).to_string();
    let eve = Session::open(&server, EVES).await.unwrap();
    let refused = eve.call("POST", "/invitations/accept", &body).await;
    assert_eq!(
        (refused.status, refused.problem().as_str()),
        (403, "address-unverified")
    );
    assert_eq!(ada.call("POST", "/invitations/accept", &body).await.status, 200);
    assert_eq!(ada.workspaces().await.len(), 4);
    assert_eq!(eve.workspaces().await, [eves.id.to_string()]);
    let headers = [("Content-Type", "application/json")];
    let without = server
        .send("POST", "/api/v1/invitations/accept", &headers, body.as_bytes())
        .await;
    assert_eq!(
        (without.status, &without.json()["field"]),
        (422, &json!("password"))
    );
}
