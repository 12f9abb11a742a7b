//! The audit trail: one event for each change, in the change's own transaction.

use portcullis::control::AppChange;
use portcullis::domain::policy::Enforcement;
use serde_json::{Value, json};
use sqlx::Row as _;

use crate::support::{OPERATOR, TempDir, Tenant, TestControl, TestKey, new_app};

/// Action, actor's name, resource's name, what was there before and after, in the order of the trail.
pub async fn events(dir: &TempDir) -> Vec<(String, String, String, Value, Value)> {
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
async fn every_change_appends_one_audit_event() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let begun = events(&dir).await.len();
    let app = tenant.app().await;
    let id = &app.details.app.id;
    let source = tenant.source("http_api").await;
    let control = &server.control;
    control
        .sources
        .connect(&OPERATOR, &tenant.id, &source.id, id)
        .await
        .unwrap();
    control
        .sources
        .set_enforcement(&OPERATOR, &tenant.id, &source.id, Enforcement::On)
        .await
        .unwrap();
    let change = AppChange {
        name: Some("renamed".to_owned()),
        ..AppChange::default()
    };
    control
        .apps
        .update(&OPERATOR, &tenant.id, id, change)
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
async fn rejected_change_appends_no_event() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let source = tenant.source("http_api").await;
    let before = (
        events(&dir).await.len(),
        server.control.fleet.snapshot().await.unwrap().version,
    );
    let control = &server.control;
    let refused = control
        .sources
        .set_enforcement(&OPERATOR, &tenant.id, &source.id, Enforcement::On);
    refused.await.unwrap_err();
    let refused = control
        .apps
        .create(&OPERATOR, &tenant.id, new_app("x", &["other"], &TestKey::p256()));
    refused.await.unwrap_err();
    let after = (
        events(&dir).await.len(),
        server.control.fleet.snapshot().await.unwrap().version,
    );
    assert_eq!(before, after);
}

/// Some events of one workspace: it, its owner, their token, and three sources.
pub async fn some_events(tenant: &Tenant<'_>) {
    for name in ["=1+1", "two", "three"] {
        let body = json!({"name": name, "kind": "python"});
        assert_eq!(tenant.call("POST", "/sources", Some(body)).await.status, 201);
    }
}

fn items(page: &Value) -> Vec<Value> {
    page["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn audit_events_are_paged_filtered_and_exported() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (tenant, other) = (server.workspace().await, server.workspace().await);
    some_events(&tenant).await;
    some_events(&other).await;
    let get = async |query: &str| tenant.call("GET", &format!("/audit-events{query}"), None).await;
    let all = items(&get("").await.json());
    let actions: Vec<&str> = all
        .iter()
        .map(|event| event["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "source.created",
            "source.created",
            "source.created",
            "api_token.created",
            "member.added",
            "workspace.created"
        ],
        "newest first, without other workspaces' events"
    );
    let newest = &all[0];
    assert_eq!(newest["resource"]["name"], "three");
    assert_eq!(newest["actor"]["type"], "member");
    assert_eq!(newest["actor"]["address"], "127.0.0.1");
    assert_eq!(newest["after"]["kind"], "python");
    let me = newest["actor"]["name"].as_str().unwrap();

    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(&format!("?limit=2&after={after}")).await.json();
        paged.extend(items(&page));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(paged, all);

    let source = newest["resource"]["id"].as_str().unwrap();
    let id = newest["actor"]["id"].as_str().unwrap();
    let at = newest["at"].as_str().unwrap();
    for (query, count) in [
        ("?action=source.created".to_owned(), 3),
        (format!("?actor={id}"), 3),
        (format!("?actor={me}&action=source.created"), 3),
        ("?actor=tests".to_owned(), 3),
        (format!("?resource_type=source&resource_id={source}"), 1),
        (format!("?since={at}"), 6),
        (format!("?until={at}"), 0),
        ("?action=nothing".to_owned(), 0),
    ] {
        assert_eq!(items(&get(&query).await.json()).len(), count, "{query}");
    }
    for (query, field) in [
        ("?since=yesterday", "since"),
        ("?limit=0", "limit"),
        ("?who=me", "who"),
    ] {
        let refused = get(query).await;
        assert_eq!(
            (refused.status, refused.json()["field"].clone()),
            (422, json!(field))
        );
    }
}

#[tokio::test]
async fn audit_export_has_two_formats() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    some_events(&tenant).await;
    let get = async |query: &str| tenant.call("GET", &format!("/audit-events{query}"), None).await;
    let all = items(&get("").await.json());
    let lines = get("/export?format=ndjson").await;
    let lines: Vec<Value> = lines
        .text()
        .lines()
        // It comes in chunks, whose sizes stand between.
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, all);
    let table = get("/export?format=csv&action=source.created").await.text();
    let rows = table.lines().filter(|line| line.starts_with("\"evt_"));
    assert_eq!(rows.count(), 3);
    assert!(
        table.contains("\"'=1+1\""),
        "no spreadsheet takes it for a formula: {table}"
    );
    assert_eq!(get("/export?format=xml").await.status, 422);
}

#[tokio::test]
async fn long_audit_export_is_complete_and_ordered() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let source = tenant.source("python").await;
    for at in 0..510 {
        let name = format!("name {at}");
        let renamed = server
            .control
            .sources
            .rename(&OPERATOR, &tenant.id, &source.id, &name);
        renamed.await.unwrap();
    }
    let answer = tenant
        .call(
            "GET",
            "/audit-events/export?format=csv&action=source.renamed",
            None,
        )
        .await;
    let text = answer.text();
    let found = (0..510).rev().all(|at| text.contains(&format!("\"name {at}\"")));
    assert!(found && text.matches("source.renamed").count() == 510);
}
