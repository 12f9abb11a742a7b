//! Roles of members: which are valid, and what a member with a role on some sources sees.

use portcullis::control::{NewGrant, NewResources};
use portcullis::domain::ids::SourceId;
use serde_json::json;

use super::members::{invite, text};
use crate::support::{NOW, OPERATOR, TempDir, TestControl, TestKey};

#[tokio::test]
async fn invalid_roles_are_rejected_with_their_field() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (tenant, other) = (server.workspace().await, server.workspace().await);
    let (source, function) = (
        tenant.source("python").await,
        tenant.source("source_function").await,
    );
    let theirs = other.source("python").await;
    let ids = |ids: &[&str]| json!(ids);
    for (roles, field) in [
        (json!([]), "roles"),
        (json!([{"role": "admin"}]), "roles[0].role"),
        (
            json!([{"role": "workspace_owner"}, {"role": "workspace_owner"}]),
            "roles[1].role",
        ),
        (
            json!([{"role": "workspace_owner", "resources": "all"}]),
            "roles[0].resources",
        ),
        (json!([{"role": "source_admin"}]), "roles[0].resources"),
        (
            json!([{"role": "source_admin", "resources": "some"}]),
            "roles[0].resources",
        ),
        (
            json!([{"role": "source_admin", "resources": []}]),
            "roles[0].resources",
        ),
        (
            json!([{"role": "source_admin", "resources": ids(&["src_nowhere"])}]),
            "roles[0].resources",
        ),
        (
            json!([{"role": "source_admin", "resources": ids(&[theirs.id.as_str()])}]),
            "roles[0].resources",
        ),
        (
            json!([{"role": "source_admin", "resources": ids(&[function.id.as_str()])}]),
            "roles[0].resources",
        ),
        (
            json!([{"role": "function_admin", "resources": ids(&[source.id.as_str()])}]),
            "roles[0].resources",
        ),
        (
            json!([{"role": "source_admin", "resources": 1}]),
            "roles[0].resources",
        ),
    ] {
        let refused = invite(&tenant, "new@example.com", roles.clone()).await;
        assert_eq!(
            (
                refused.status,
                refused.json()["field"].as_str().unwrap_or_default()
            ),
            (422, field),
            "{roles}"
        );
    }
}

#[tokio::test]
async fn unknown_resource_of_a_role_is_named() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let rows: Vec<String> = (0..620)
        .map(|at| {
            format!(
                "('src_m{at:04}', '{}', 'x', 'python', 'wk{at}', '{at:022}', 'off', {NOW})",
                tenant.id
            )
        })
        .collect();
    let statement = format!(
        "INSERT INTO sources (id, workspace, name, kind, write_key, write_key_digest, enforcement, created_at) VALUES {}",
        rows.join(", ")
    );
    let mut sql = dir.sql().await;
    sqlx::query(sqlx::AssertSqlSafe(statement))
        .execute(&mut sql)
        .await
        .unwrap();
    let mut ids: Vec<String> = (0..620).rev().map(|at| format!("src_m{at:04}")).collect();
    // What is named again counts once.
    ids.extend(ids.clone());
    let roles = |ids: &[String]| json!([{"role": "source_read_only", "resources": ids}]);
    let invited = invite(&tenant, "many@example.com", roles(&ids)).await;
    assert_eq!(invited.status, 201, "{invited:?}");
    ids.sort();
    ids.dedup();
    assert_eq!(invited.json()["roles"], roles(&ids));
    let path = format!("/members/{}", text(&invited.json()["id"]));
    assert_eq!(tenant.call("GET", &path, None).await.json()["roles"], roles(&ids));
    ids.push("src_m0620".to_owned());
    let refused = tenant
        .call("PATCH", &path, Some(json!({"roles": roles(&ids)})))
        .await;
    assert_eq!(
        (refused.status, refused.json()["field"].as_str()),
        (422, Some("roles[0].resources"))
    );
    assert!(refused.text().contains("`src_m0620`"), "{refused:?}");
    ids.extend((621..1_001).map(|at| format!("src_m{at:04}")));
    let refused = tenant
        .call("PATCH", &path, Some(json!({"roles": roles(&ids)})))
        .await;
    assert!(refused.text().contains("1 to 1000"), "{refused:?}");
}

#[tokio::test]
async fn member_sees_only_listed_sources() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let mut mine = Vec::new();
    for at in 0..9 {
        let kind = if at % 2 == 0 { "python" } else { "source_function" };
        let source = tenant.source(kind).await;
        if at % 3 == 0 {
            mine.push(source.id.to_string());
        }
        if at == 8 {
            mine.push(source.id.to_string());
        }
    }
    let (functions, sources): (Vec<_>, Vec<_>) =
        mine.iter().cloned().enumerate().partition(|(at, _)| *at == 1);
    let listed =
        |ids: Vec<(usize, String)>| NewResources::Listed(ids.into_iter().map(|(_, id)| id).collect());
    let grant = |role: &str, resources| NewGrant {
        role: role.to_owned(),
        resources: Some(resources),
    };
    let grants = [
        grant("function_read_only", listed(functions)),
        grant("source_read_only", listed(sources)),
    ];
    let control = &server.control;
    let member = control
        .members
        .create_member(&OPERATOR, &tenant.id, "reader@example.com", &grants)
        .await
        .unwrap();
    let token = control
        .api_tokens
        .create_api_token(&OPERATOR, &member.id, "tests", None)
        .await
        .unwrap();
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/sources?limit=2&after={after}");
        let page = tenant.call_as(token.expose(), "GET", &path, None).await.json();
        let items = page["items"].as_array().unwrap();
        assert!(!items.is_empty(), "no page is empty while there is more");
        seen.extend(items.iter().map(|source| text(&source["id"])));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, mine);
    // An app shows them the same ones, of all that it is connected to.
    let app = tenant
        .app_with(&TestKey::p256(), &["tracking_api:write", "functions:write"])
        .await;
    let all = tenant.call("GET", "/sources", None).await.json();
    for source in all["items"].as_array().unwrap() {
        let id = SourceId::parse(source["id"].as_str().unwrap()).unwrap();
        control
            .sources
            .connect(&OPERATOR, &tenant.id, &id, &app.details.app.id)
            .await
            .unwrap();
    }
    let path = format!("/apps/{}", app.id());
    let shown = tenant.call_as(token.expose(), "GET", &path, None).await.json();
    assert_eq!(shown["sources"], json!(mine));
    let whole = tenant.call("GET", &path, None).await.json();
    assert_eq!(whole["sources"].as_array().unwrap().len(), 9);
}
