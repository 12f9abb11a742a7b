//! Leases of edges that another control plane serves: the store says when they end, and no clock jump ends one.

use portcullis::domain::time::UnixSeconds;
use serde_json::{Value, json};

use crate::support::{NOW, TempDir, TestControl};

const DAY: u64 = 86_400;

#[tokio::test]
async fn clock_jump_ends_no_lease_of_another_control_plane() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    server.clock.jump(UnixSeconds(NOW - 2 * DAY));
    server.control.purge().await;
    server.clock.advance(2 * DAY);
    server.control.purge().await;
    assert_eq!(server.control.clock_warning(), None);
    let tenant = server.workspace().await;
    let id = format!("edge_{}", "0".repeat(32));
    let statement = format!(
        "INSERT INTO edges (id, name, public_key, created_at) VALUES ('{id}', 'fra-1', '{}', {NOW}); \
         INSERT INTO edge_instances (id, edge, control_plane, build, version, heard_at, lapses_at, unbounded) \
         VALUES ('{}', '{id}', 'other', 'test', 0, {NOW}, {}, 0)",
        "A".repeat(43),
        "B".repeat(22),
        NOW + 300
    );
    let mut sql = dir.sql().await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(&mut sql)
        .await
        .unwrap();
    let edges = async || -> Value {
        let authorization = format!("Bearer {}", tenant.api_token);
        let headers = [("Authorization", authorization.as_str())];
        let shown = server
            .send("GET", "/api/v1/policy/versions/1", &headers, b"")
            .await;
        let shown = shown.json();
        json!([shown["edges"]["pending"], shown["edges"]["lapsed"]])
    };
    assert_eq!(edges().await, json!([1, 0]));
    server.clock.jump(UnixSeconds(NOW + DAY));
    server.control.purge().await;
    assert_eq!(edges().await, json!([1, 0]));
    server.clock.jump(UnixSeconds(NOW));
    server.clock.advance(2 * DAY);
    server.control.purge().await;
    assert_eq!(edges().await, json!([0, 1]));
}
