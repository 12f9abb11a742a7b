//! The audit trail: one event for each change, in the change's own transaction.

use portcullis::control::AppChange;
use portcullis::domain::policy::Enforcement;
use serde_json::{Value, json};
use sqlx::Row as _;

use super::support::{OPERATOR, TempDir, TestControl, TestKey, new_app};

/// Action, actor's name, resource's name, what was there before and after, in the order of the trail.
async fn events(dir: &TempDir) -> Vec<(String, String, String, Value, Value)> {
    let mut connection = dir.sql().await;
    let rows = sqlx::query("SELECT * FROM audit_events ORDER BY position")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let json = |text: Option<String>| text.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
    rows.iter()
        .map(|row| {
            (
                row.get("action"),
                row.get("actor_name"),
                row.get("resource_name"),
                json(row.get("changed_from")),
                json(row.get("changed_to")),
            )
        })
        .collect()
}

#[tokio::test]
async fn every_change_leaves_one_event_that_says_what_changed() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let begun = events(&dir).await.len();
    let app = tenant.app().await;
    let id = &app.details.app.id;
    let source = tenant.source("http_api").await;
    let control = &server.control;
    control
        .connect(&OPERATOR, &tenant.id, &source.id, id)
        .await
        .unwrap();
    control
        .set_enforcement(&OPERATOR, &tenant.id, &source.id, Enforcement::On)
        .await
        .unwrap();
    let change = AppChange {
        name: Some("renamed".to_owned()),
        ..AppChange::default()
    };
    control
        .update_app(&OPERATOR, &tenant.id, id, change)
        .await
        .unwrap();
    let found = events(&dir).await.split_off(begun);
    let actions: Vec<&str> = found.iter().map(|event| event.0.as_str()).collect();
    assert_eq!(
        actions,
        [
            "app.created",
            "source.created",
            "source.connected",
            "source.enforcement_changed",
            "app.changed"
        ]
    );
    assert!(found.iter().all(|event| event.1 == "tests"));
    assert_eq!(
        found[2].3,
        json!({"app_id": null}),
        "only what changed is in the event"
    );
    assert_eq!(found[2].4, json!({"app_id": id.as_str()}));
    assert_eq!(
        (&found[4].2, &found[4].3, &found[4].4),
        (
            &"renamed".to_owned(),
            &json!({"name": "sender"}),
            &json!({"name": "renamed"})
        )
    );
    let written = format!("{found:?}");
    for secret in [source.write_key.expose(), app.key.public_pem.as_str()] {
        assert!(!written.contains(secret), "{written}");
    }
    assert!(written.contains(&app.details.keys[0].thumbprint));
}

#[tokio::test]
async fn refused_change_leaves_no_event() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let source = tenant.source("http_api").await;
    let before = (
        events(&dir).await.len(),
        server.control.snapshot().await.unwrap().version,
    );
    let control = &server.control;
    let refused = control.set_enforcement(&OPERATOR, &tenant.id, &source.id, Enforcement::On);
    refused.await.unwrap_err();
    let refused = control.create_app(&OPERATOR, &tenant.id, new_app("x", &["other"], &TestKey::p256()));
    refused.await.unwrap_err();
    let after = (
        events(&dir).await.len(),
        server.control.snapshot().await.unwrap().version,
    );
    assert_eq!(before, after);
}
