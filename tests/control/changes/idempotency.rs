//! `Idempotency-Key`: a repeated request makes one resource only.

use super::conditions::call;
use portcullis::domain::time::UnixSeconds;
use serde_json::{Value, json};

use crate::support::{DEADLINE, NOW, TempDir, TestControl, TestKey};

#[tokio::test]
async fn repeated_request_creates_one_resource() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let key = ("Idempotency-Key", "6f9a-once");
    let app = json!({
        "name": "once", "scopes": ["tracking_api:write"],
        "public_key": {"name": "first", "pem": TestKey::p256().public_pem},
    });
    let source = json!({"name": "once", "kind": "python"});
    for (path, body) in [("/apps", app), ("/sources", source)] {
        let first = call(&tenant, "POST", path, key, body.clone()).await;
        let second = call(&tenant, "POST", path, key, body.clone()).await;
        assert_eq!((first.status, second.status), (201, 201), "{second:?}");
        assert_eq!(first.json(), second.json());
        let count = tenant.call("GET", path, None).await.json()["items"]
            .as_array()
            .unwrap()
            .len();
        assert_eq!(count, 1, "{path}");
        let mut other = body;
        other["name"] = json!("twice");
        let refused = call(&tenant, "POST", path, key, other).await;
        assert_eq!(
            (refused.status, refused.json()["field"].clone()),
            (422, json!("Idempotency-Key"))
        );
    }
}

#[tokio::test]
async fn idempotency_key_expires_after_a_day_or_deletion() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let key = ("Idempotency-Key", "6f9a-once");
    let source = json!({"name": "once", "kind": "python"});
    let other = ("Idempotency-Key", "6f9a-another");
    for key in [key, other] {
        let made = call(&tenant, "POST", "/sources", key, source.clone()).await;
        assert_eq!(made.status, 201);
    }
    let gone = tenant.call("GET", "/sources", None).await.json()["items"][0]["id"].clone();
    tenant
        .call("DELETE", &format!("/sources/{}", gone.as_str().unwrap()), None)
        .await;
    let late = call(
        &tenant,
        "POST",
        "/sources",
        key,
        json!({"name": "once", "kind": "python"}),
    )
    .await;
    assert_eq!((late.status, late.problem().as_str()), (409, "retried-too-late"));
    // A day later the key means nothing any more, and is forgotten.
    server.clock.set(UnixSeconds(NOW + 86_400));
    let fresh = call(
        &tenant,
        "POST",
        "/sources",
        key,
        json!({"name": "new", "kind": "python"}),
    )
    .await;
    assert_eq!(fresh.status, 201);
    // Its row is kept for another day, in case the clock is set back.
    server.clock.set(UnixSeconds(NOW + 2 * 86_400 + 3_601));
    let mut store = dir.sql().await;
    let forgotten = async {
        loop {
            let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM idempotency_keys")
                .fetch_one(&mut store)
                .await
                .unwrap();
            if count == 1 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, forgotten).await.unwrap();
    for bad in ["", "a b", &"x".repeat(256)] {
        let refused = call(
            &tenant,
            "POST",
            "/sources",
            ("Idempotency-Key", bad),
            json!({"name": "x", "kind": "python"}),
        )
        .await;
        assert_eq!(refused.status, 400, "{bad:?}");
    }
}

#[tokio::test]
async fn repeated_request_does_not_show_the_secret_again() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (tenant, cookie) = server.workspace_and_session().await;
    let send = async |path: &str, body: &Value| {
        let target = format!("/api/v1/workspaces/{}{path}", tenant.id);
        let headers = [
            ("Cookie", cookie.as_str()),
            ("Sec-Fetch-Site", "same-origin"),
            ("Content-Type", "application/json"),
            ("Idempotency-Key", "token-once"),
        ];
        let body = body.to_string();
        server.send("POST", &target, &headers, body.as_bytes()).await
    };
    for (path, body) in [
        ("/api-tokens", json!({"name": "once"})),
        (
            "/members",
            json!({"email": "once@example.com", "roles": [{"role": "workspace_member"}]}),
        ),
    ] {
        assert_eq!(send(path, &body).await.status, 201);
        let again = send(path, &body).await;
        assert_eq!(
            (again.status, again.problem().as_str()),
            (409, "secret-shown-once")
        );
    }
}

#[tokio::test]
async fn concurrent_requests_with_one_key_create_one_resource() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let key = ("Idempotency-Key", "at-once");
    let send = || {
        call(
            &tenant,
            "POST",
            "/sources",
            key,
            json!({"name": "once", "kind": "python"}),
        )
    };
    let (a, b, c, d) = tokio::join!(send(), send(), send(), send());
    for answer in [a, b, c, d] {
        let known = answer.status == 201 || answer.problem() == "retried-meanwhile";
        assert!(known, "{answer:?}");
    }
    let made = tenant.call("GET", "/sources", None).await.json()["items"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(made, 1);
}
