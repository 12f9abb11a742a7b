//! Preconditions: `If-Match`, and confirmation of the last key.

use serde_json::{Value, json};

use crate::support::{Answer, TempDir, Tenant, TestControl};

pub async fn call(
    tenant: &Tenant<'_>,
    method: &str,
    path: &str,
    header: (&str, &str),
    body: Value,
) -> Answer {
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
async fn if_match_rejects_a_concurrent_change() {
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
async fn entity_tag_matches_exactly() {
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
async fn last_key_is_deleted_only_with_confirmation() {
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
async fn names_are_normalised_and_not_deceptive() {
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
