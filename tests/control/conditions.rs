//! Two people at one thing, and one request sent twice.

use portcullis::domain::time::UnixSeconds;
use serde_json::{Value, json};

use super::support::{Answer, DEADLINE, NOW, TempDir, Tenant, TestControl, TestKey};

async fn call(tenant: &Tenant<'_>, method: &str, path: &str, header: (&str, &str), body: Value) -> Answer {
    let target = format!("/api/v1/workspaces/{}{path}", tenant.id);
    let authorization = format!("Bearer {}", tenant.api_token);
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
        header,
    ];
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    tenant
        .server
        .send(method, &target, &headers, body.as_bytes())
        .await
}

#[tokio::test]
async fn change_of_what_has_changed_meanwhile_is_refused() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let source = tenant.source("python").await;
    let (app, source) = (format!("/apps/{}", app.id()), format!("/sources/{}", source.id));
    for path in ["", app.as_str(), source.as_str()] {
        let seen = tenant.call("GET", path, None).await;
        let tag = seen.header("etag").unwrap().to_owned();
        let rename = |name: &str| json!({"name": name});
        let first = call(&tenant, "PATCH", path, ("If-Match", &tag), rename("one")).await;
        assert_eq!(first.status, 200, "{path} {first:?}");
        assert_ne!(first.header("etag"), Some(tag.as_str()));
        let second = call(&tenant, "PATCH", path, ("If-Match", &tag), rename("two")).await;
        assert_eq!(
            (second.status, second.problem().as_str()),
            (412, "changed-meanwhile"),
            "{path}"
        );
        assert_eq!(tenant.call("GET", path, None).await.json()["name"], "one");
        let listed = format!("\"77\", {}", first.header("etag").unwrap());
        assert_eq!(
            call(&tenant, "PATCH", path, ("If-Match", &listed), rename("three"))
                .await
                .status,
            200
        );
        assert_eq!(
            call(&tenant, "PATCH", path, ("If-Match", "*"), rename("four"))
                .await
                .status,
            200
        );
        assert_eq!(
            call(&tenant, "PATCH", path, ("If-Match", "7"), rename("five"))
                .await
                .status,
            400
        );
    }
    let stale = call(&tenant, "DELETE", &source, ("If-Match", "\"1\""), Value::Null).await;
    assert_eq!(stale.status, 412);
}

#[tokio::test]
async fn entity_tag_matches_only_to_the_letter() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let seen = tenant.call("GET", "", None).await;
    let revision = seen.header("etag").unwrap().trim_matches('"').to_owned();
    for other in [format!("\"+{revision}\""), format!("\"0{revision}\"")] {
        let name = json!({"name": "New"});
        let answer = call(&tenant, "PATCH", "", ("If-Match", &other), name).await;
        assert_eq!(answer.status, 412, "{other}");
    }
}

#[tokio::test]
async fn request_sent_twice_makes_one_thing() {
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
async fn key_means_nothing_once_its_thing_is_gone_or_a_day_has_passed() {
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
async fn secret_is_not_shown_again_to_a_request_sent_again() {
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
async fn requests_sent_at_once_with_one_key_make_one_thing() {
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

#[tokio::test]
async fn last_key_goes_only_when_it_is_said_to_be_the_last() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let path = format!("/apps/{}/keys/{}", app.id(), app.key_id);
    let refused = tenant.call("DELETE", &path, None).await;
    assert_eq!((refused.status, refused.problem().as_str()), (409, "last-key"));
    assert_eq!(server.ask(&app.assertion(), "").await.status, 200);
    assert_eq!(
        tenant
            .call("DELETE", &format!("{path}?last_key=true"), None)
            .await
            .status,
        204
    );
    assert_eq!(server.ask(&app.assertion(), "").await.status, 401);
}

#[tokio::test]
async fn names_are_composed_and_deceive_nobody() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let renamed = tenant
        .call("PATCH", "", Some(json!({"name": "Cafe\u{301}"})))
        .await;
    assert_eq!(renamed.json()["name"], "Caf\u{e9}");
    for bad in ["pay\u{202e}lap", "a\u{0}b", "\u{2066}x"] {
        let refused = tenant.call("PATCH", "", Some(json!({"name": bad}))).await;
        assert_eq!(
            (refused.status, refused.json()["field"].clone()),
            (422, json!("name"))
        );
    }
}
