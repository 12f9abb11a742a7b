//! A store that an earlier build made: everything in it is still there, and still opens what it opened.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::domain::digest::sha256;
use sqlx::{AnyConnection, Connection as _, migrate::Migrator};

use super::support::{NOW, TempDir, TestControl, on_postgres};

/// A store whose schema is that of the first `steps` migrations.
async fn store_of(dir: &TempDir, steps: i64) -> AnyConnection {
    let mut connection = dir.sql().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/migrations");
    let mut migrator = Migrator::new(folder).await.unwrap();
    let kept = migrator.iter().filter(|step| step.version <= steps).cloned();
    migrator.migrations = kept.collect();
    migrator.run(&mut connection).await.unwrap();
    connection
}

#[tokio::test]
async fn members_of_the_first_schema_become_people_with_grants() {
    let dir = TempDir::new();
    let mut connection = store_of(&dir, 1).await;
    let token = format!("pcl_{}", "t".repeat(40));
    let hash = URL_SAFE_NO_PAD.encode(sha256(token.as_bytes()));
    for text in [
        format!("INSERT INTO workspaces VALUES ('ws_1', 'One', {NOW}), ('ws_2', 'Two', {NOW})"),
        format!(
            "INSERT INTO members VALUES \
             ('mem_1', 'ws_1', 'acc_1', 'a@example.com', 'workspace_owner', 'hash of a', {NOW}), \
             ('mem_2', 'ws_2', 'acc_2', 'a@example.com', 'workspace_owner', NULL, {NOW}), \
             ('mem_3', 'ws_2', 'acc_3', 'b@example.com', 'workspace_owner', NULL, {NOW})"
        ),
        format!(
            "INSERT INTO api_tokens VALUES ('tok_1', 'mem_2', 'old', '{hash}', 'pcl_tttt', {NOW}, NULL, NULL)"
        ),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(text))
            .execute(&mut connection)
            .await
            .unwrap();
    }
    connection.close().await.unwrap();

    let server = TestControl::start(&dir).await;
    let authorization = format!("Bearer {token}");
    for workspace in ["ws_1", "ws_2"] {
        // One address is one person, who owns both.
        let target = format!("/api/v1/workspaces/{workspace}");
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/json"),
        ];
        let renamed = server
            .send("PATCH", &target, &headers, br#"{"name": "New"}"#)
            .await;
        assert_eq!(renamed.status, 200, "{renamed:?}");
    }
    let mut connection = dir.sql().await;
    let accounts: Vec<(String, String, Option<String>)> =
        sqlx::query_as("SELECT id, email, password_hash FROM accounts ORDER BY id")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let text = str::to_owned;
    assert_eq!(
        accounts,
        [
            (text("acc_1"), text("a@example.com"), Some(text("hash of a"))),
            (text("acc_3"), text("b@example.com"), None)
        ]
    );
    if on_postgres() {
        // It lets no reference break.
        return;
    }
    let broken: Vec<(String,)> = sqlx::query_as("SELECT \"table\" FROM pragma_foreign_key_check")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert!(broken.is_empty(), "{broken:?}");
}
