//! Lists and snapshots that the store reads in pieces: each row once.

use std::collections::BTreeSet;

use portcullis::control::{NewGrant, NewResources};
use serde_json::json;
use sqlx::{AnyConnection, AssertSqlSafe};

use crate::support::{NOW, OPERATOR, TempDir, Tenant, TestControl, TestKey};

/// More than two pieces, the last one not full.
const ROWS: u64 = 4_100;

async fn insert(connection: &mut AnyConnection, into: &str, row: impl Fn(u64) -> String) {
    let rows: Vec<String> = (0..ROWS).map(row).collect();
    let text = format!("INSERT INTO {into} VALUES {}", rows.join(", "));
    sqlx::raw_sql(AssertSqlSafe(text))
        .execute(connection)
        .await
        .unwrap();
}

/// Apps with a key each, a source connected to each but one, and revocations.
async fn fill(mut sql: AnyConnection, workspace: &str) {
    insert(
        &mut sql,
        "apps (id, workspace, name, scopes, token_lifetime, not_issued_before, created_at)",
        |at| {
            format!(
                "('app_{at}', '{workspace}', 'a', 'tracking_api:write functions:write', '1d', {at}, {NOW})"
            )
        },
    )
    .await;
    insert(
        &mut sql,
        "app_keys (id, app, name, pem, thumbprint, algorithm, created_at, not_issued_before)",
        |at| {
            let thumbprint = "t".repeat(43);
            format!(
                "('key_{at}', 'app_{at}', 'k', '', '{thumbprint}', 'ES256', {NOW}, {})",
                at % 2
            )
        },
    )
    .await;
    insert(
        &mut sql,
        "sources (id, workspace, name, kind, write_key, write_key_digest, enforcement, app, created_at)",
        |at| {
            let app = if at == 7 {
                "NULL".to_owned()
            } else {
                format!("'app_{at}'")
            };
            format!("('src_{at}', '{workspace}', 's', 'nodejs', 'k{at}', '{at:021}A', 'on', {app}, {NOW})")
        },
    )
    .await;
    // Many end in one second, which is no place to cut; and the first hundred have ended.
    insert(
        &mut sql,
        "revocations (issuer, token_id, expires_at, app, at, reason)",
        |at| {
            let expires_at = if at < 100 { NOW } else { NOW + 1 + at / 3_000 };
            format!("('i', 'token_{at}', {expires_at}, 'app_1', {NOW}, 'r')")
        },
    )
    .await;
}

#[tokio::test]
async fn snapshot_in_pieces_has_every_row_once() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let workspace = tenant.id.as_str();
    fill(dir.sql().await, workspace).await;
    let snapshot = server.control.fleet.snapshot().await.unwrap();
    let all = |prefix: &str, from: u64| -> BTreeSet<String> {
        (from..ROWS).map(|at| format!("{prefix}{at}")).collect()
    };
    assert_eq!(snapshot.sources.len(), ROWS as usize);
    let ids: BTreeSet<String> = snapshot.sources.iter().map(|held| held.id.clone()).collect();
    assert_eq!(ids, all("src_", 0));
    for source in &snapshot.sources {
        let at = source.id.strip_prefix("src_").unwrap();
        let app = (at != "7").then(|| format!("app_{at}"));
        assert_eq!((&source.app, source.enforcement.as_str()), (&app, "on"));
        assert_eq!(source.workspace, workspace);
        assert_eq!(source.write_key_digest, format!("{at:0>21}A"));
    }
    assert_eq!(snapshot.apps.len(), ROWS as usize);
    for app in &snapshot.apps {
        let at: u64 = app.id.strip_prefix("app_").unwrap().parse().unwrap();
        let key = format!("key_{at}");
        assert_eq!(
            app.scopes,
            ["tracking_api:write", "functions:write"].map(str::to_owned)
        );
        assert_eq!(app.keys, Some(vec![key.clone()]));
        assert_eq!(app.not_issued_before, at);
        let ended = (at % 2 == 1).then_some((key, 1));
        assert_eq!(app.keys_not_issued_before, ended.into_iter().collect());
    }
    assert_eq!(
        snapshot.revocations.len(),
        ROWS as usize,
        "those of expired tokens, too"
    );
    let ids: BTreeSet<String> = snapshot
        .revocations
        .iter()
        .map(|held| held.token_id.clone())
        .collect();
    assert_eq!(ids, all("token_", 0));
    server.stop().await;
}

/// Three apps: one with eight sources, one with a second key and four, one with none. The sources by id and kind.
async fn apps_with_sources(tenant: &Tenant<'_>) -> Vec<(String, &'static str)> {
    let scopes = ["tracking_api:write", "functions:write"];
    let mut sources = Vec::new();
    for app in 0..3 {
        let made = tenant.app_with(&TestKey::p256(), &scopes).await;
        if app == 1 {
            let body = json!({"name": "second", "pem": TestKey::p256().public_pem});
            let path = format!("/apps/{}/keys", made.id());
            assert_eq!(tenant.call("POST", &path, Some(body)).await.status, 201);
        }
        // None for the last.
        for at in 0..4 * (2 - app) {
            let kind = if at % 2 == 0 { "nodejs" } else { "source_function" };
            let source = tenant.source(kind).await;
            let connect = json!({"app_id": made.id()});
            let path = format!("/sources/{}/app", source.id);
            assert_eq!(tenant.call("PUT", &path, Some(connect)).await.status, 200);
            sources.push((source.id.to_string(), kind));
        }
    }
    sources
}

#[tokio::test]
async fn page_of_apps_equals_the_apps_read_one_by_one() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let sources = apps_with_sources(&tenant).await;
    let grant = |role: &str, resources| NewGrant {
        role: role.to_owned(),
        resources: Some(resources),
    };
    let all = || NewResources::Word("all".to_owned());
    let some = |kind: &str| {
        let of_kind = sources.iter().filter(|(_, held)| *held == kind);
        NewResources::Listed(of_kind.step_by(2).map(|(id, _)| id.clone()).collect())
    };
    let mut tokens = vec![(tenant.api_token.clone(), 12)];
    for (name, grants, seen) in [
        ("functions", vec![grant("function_admin", all())], 6),
        ("listed", vec![grant("source_admin", some("nodejs"))], 3),
        (
            "both",
            vec![
                grant("function_read_only", all()),
                grant("function_admin", some("source_function")),
                grant("source_read_only", some("nodejs")),
            ],
            9,
        ),
    ] {
        let email = format!("{name}@example.com");
        let control = &server.control;
        let member = control
            .members
            .create_member(&OPERATOR, &tenant.id, &email, &grants)
            .await
            .unwrap();
        let token = control
            .api_tokens
            .create_api_token(&OPERATOR, &member.id, "tests", None)
            .await
            .unwrap();
        tokens.push((token.expose().to_owned(), seen));
    }
    for (token, seen) in tokens {
        let mut connected = 0;
        let mut after = String::new();
        for page in 0..2 {
            let path = format!("/apps?limit=2&after={after}");
            let list = tenant.call_as(&token, "GET", &path, None).await.json();
            let items = list["items"].as_array().unwrap();
            assert_eq!(items.len(), [2, 1][page]);
            for item in items {
                let path = format!("/apps/{}", item["id"].as_str().unwrap());
                let alone = tenant.call_as(&token, "GET", &path, None).await.json();
                assert_eq!(*item, alone);
                connected += item["sources"].as_array().unwrap().len();
            }
            after = list["next"].as_str().unwrap_or_default().to_owned();
        }
        assert_eq!(connected, seen);
    }
    // The members are shown alike in their list and alone.
    let list = tenant.call("GET", "/members", None).await.json();
    let members = list["items"].as_array().unwrap();
    assert_eq!(members.len(), 4);
    for member in members {
        let path = format!("/members/{}", member["id"].as_str().unwrap());
        assert_eq!(*member, tenant.call("GET", &path, None).await.json());
    }
    server.stop().await;
}
