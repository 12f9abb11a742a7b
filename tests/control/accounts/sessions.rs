//! Sessions: CSRF protection, expiry, revocation and cookies.

use crate::support::sign_in::{EMAIL, SAME_ORIGIN, Session, World};

use portcullis::control::ControlError;
use portcullis::control::accounts::secret::Secret;
use portcullis::domain::time::UnixSeconds;
use serde_json::{Value, json};

use crate::support::{NOW, OPERATOR, TempDir, TestControl};

const HOUR: u64 = 3_600;

#[tokio::test]
async fn cross_site_requests_change_nothing() {
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
async fn session_needs_same_origin_and_api_tokens_do_not() {
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
async fn sessions_expire_when_idle_and_after_their_lifetime() {
    let world = World::start().await;

    // Each sign-in has a new secret, also if the browser sent one.
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

    // Another session signs it out, then it signs itself out.
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
async fn password_change_revokes_sessions() {
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
async fn sessions_of_others_are_not_found() {
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
async fn cookies_on_plain_http_have_no_host_prefix() {
    let dir = TempDir::new();
    let server = TestControl::start_with(&dir, |settings| {
        settings.public_url = "http://127.0.0.1:8081".to_owned();
    })
    .await;
    let (_, password) = server.owner_with_password(EMAIL).await;
    let body = json!({"email": EMAIL, "password": password}).to_string();
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
async fn csrf_token_belongs_to_one_session() {
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
