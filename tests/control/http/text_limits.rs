//! NUL is rejected in every text: `PostgreSQL` cannot store it.

use serde_json::json;

use crate::support::{TempDir, TestControl, TestKey, new_app};

#[tokio::test]
async fn nul_is_rejected_in_every_text() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;

    for (method, path) in [
        ("GET", "/apps?after=%00"),
        ("GET", "/sources?after=src_%00"),
        ("GET", "/members?after=a%00b"),
        ("GET", "/api-tokens?after=%00"),
        ("GET", "/leaked-tokens?after=%00"),
        ("GET", "/audit-events?actor=%00"),
        ("GET", "/audit-events/export?format=csv&action=x%00"),
        ("GET", "/apps/%00"),
        ("GET", "/sources/src_%00"),
        ("DELETE", "/members/%00"),
        ("DELETE", "/api-tokens/tok_%00"),
        ("DELETE", "/leaked-tokens/%00"),
    ] {
        let answer = tenant.call(method, path, None).await;
        let expected = if path.contains('?') { 422 } else { 404 };
        assert_eq!(answer.status, expected, "{method} {path} {answer:?}");
    }

    let key = TestKey::p256();
    let mut new = json!({"name": "a\0", "scopes": ["tracking_api:write"], "token_lifetime": "1d",
        "public_key": {"name": "k", "pem": new_app("x", &[], &key).public_key.pem}});
    assert_eq!(
        tenant.call("POST", "/apps", Some(new.clone())).await.json()["field"],
        "name"
    );
    new["name"] = json!("a\\u0000");
    assert_eq!(
        tenant.call("POST", "/apps", Some(new)).await.status,
        201,
        "a backslash is none"
    );

    let json = [("Content-Type", "application/json")];
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let sign_in = json!({"email": "a\0@example.com", "password": "x"}).to_string();
    let accept = json!({"secret": "pci_\0", "password": "a long enough password"}).to_string();
    let asked = format!("token=\0&client_id={}", app.id());
    for (path, headers, body, expected) in [
        ("/api/v1/session", json, sign_in.as_str(), 422),
        ("/api/v1/invitations/accept", json, &accept, 422),
        (
            "/console/sign-in",
            form,
            "email=a%00%40example.com&password=x",
            403,
        ),
        ("/token", form, "grant_type=client_credentials&scope=%00", 400),
        ("/revoke", form, &asked, 400),
        ("/introspect", form, &asked, 400),
    ] {
        let answer = server.send("POST", path, &headers, body.as_bytes()).await;
        assert_eq!(answer.status, expected, "{path} {answer:?}");
    }
    for path in [
        "/login/oidc?next=%00",
        "/console/sign-in?next=%00",
        "/console/w/%00",
        "/.well-known/%00",
    ] {
        let answer = server.send("GET", path, &[], b"").await;
        assert!(answer.status < 500, "{path} {answer:?}");
    }
}
