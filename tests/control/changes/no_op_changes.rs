//! A change that sets the current state again: no version, no audit event, no new revision.

use serde_json::{Value, json};

use crate::support::{OPERATOR, TempDir, Tenant, TestControl};

async fn made(dir: &TempDir) -> (i64, i64) {
    let mut sql = dir.sql().await;
    let text = "SELECT (SELECT version FROM policy_version), (SELECT COUNT(*) FROM audit_events)";
    sqlx::query_as(text).fetch_one(&mut sql).await.unwrap()
}

async fn answered(tenant: &Tenant<'_>, call: &(&str, String, Value)) -> Value {
    let (method, path, body) = call;
    let answer = tenant.call(method, path, Some(body.clone())).await;
    assert_eq!(answer.status, 200, "{call:?} {answer:?}");
    answer.json()
}

#[tokio::test]
async fn no_op_change_has_no_version_and_no_event() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let source = tenant.source("python").await;
    let member = server
        .control
        .members
        .create_owner(&OPERATOR, &tenant.id, "second@example.com")
        .await
        .unwrap();
    let app_path = format!("/apps/{}", app.id());
    let source_path = format!("/sources/{}", source.id);
    let listed = json!([{"role": "source_admin", "resources": [source.id.as_str()]}]);
    for call in [
        ("PATCH", String::new(), json!({"name": "Other"})),
        (
            "PATCH",
            app_path.clone(),
            json!({"name": "other", "token_lifetime": "2d"}),
        ),
        (
            "POST",
            format!("{app_path}/tokens/revoke-all"),
            json!({"issued_before": "2020-01-01T00:00:00Z"}),
        ),
        ("PATCH", source_path.clone(), json!({"name": "other"})),
        ("PUT", format!("{source_path}/app"), json!({"app_id": app.id()})),
        (
            "PUT",
            format!("{source_path}/enforcement"),
            json!({"mode": "observe"}),
        ),
        (
            "PATCH",
            format!("/members/{}", member.id),
            json!({"roles": listed}),
        ),
    ] {
        let before = made(&dir).await;
        let first = answered(&tenant, &call).await;
        let once = made(&dir).await;
        assert_eq!(once, (before.0 + 1, before.1 + 1), "{call:?}");
        assert_eq!(answered(&tenant, &call).await, first, "{call:?}");
        assert_eq!(made(&dir).await, once, "{call:?}");
    }
}
