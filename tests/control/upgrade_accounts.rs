//! A store of before addresses were verified: who counts as verified, and what an account of several memberships becomes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::domain::digest::sha256;
use sqlx::Connection as _;

use super::support::{NOW, TempDir, TestControl};
use super::upgrade::store_of;

/// The last schema step without verified addresses.
const BEFORE: i64 = 15;

/// What is in the store: an account of each kind.
fn rows() -> Vec<String> {
    let hash = "A".repeat(43);
    let mut texts = vec![format!(
        "INSERT INTO workspaces (id, name, created_at) VALUES ('ws_1', 'One', {NOW}), ('ws_2', 'Two', {NOW})"
    )];
    for (at, (name, hash)) in [
        ("own", "'x'"),
        ("oidc", "NULL"),
        ("made", "'y'"),
        ("eve", "'z'"),
        ("none", "'w'"),
    ]
    .into_iter()
    .enumerate()
    {
        texts.push(format!(
            "INSERT INTO accounts VALUES ('acc_{name}', '{name}@example.com', {hash}, {})",
            NOW + at as u64
        ));
    }
    let joined = NOW.to_string();
    for (id, workspace, account, joined_at) in [
        ("mem_1", "ws_1", "own", joined.as_str()),
        ("mem_2", "ws_1", "oidc", &joined),
        ("mem_3", "ws_2", "oidc", "NULL"),
        ("mem_4", "ws_1", "made", &joined),
        ("mem_5", "ws_1", "eve", &joined),
        ("mem_6", "ws_2", "eve", &joined),
        ("mem_7", "ws_1", "none", "NULL"),
    ] {
        texts.push(format!(
            "INSERT INTO members (id, workspace, account, created_at, joined_at) \
             VALUES ('{id}', '{workspace}', 'acc_{account}', {NOW}, {joined_at})"
        ));
    }
    texts.extend([
        "INSERT INTO identities VALUES ('https://id.test', 's', 'acc_oidc')".to_owned(),
        format!(
            "INSERT INTO audit_events (position, id, workspace, at, action, actor_type, actor_id, actor_name, \
             resource_type, resource_id, resource_name, hash) VALUES (1, 'evt_1', 'ws_1', {NOW}, 'member.added', \
             'system', 'admin', 'admin', 'member', 'mem_4', 'made@example.com', '{hash}')"
        ),
        format!("UPDATE audit_chain SET newest_position = 1, newest_hash = '{hash}'"),
    ]);
    for account in ["eve", "none"] {
        let hash = URL_SAFE_NO_PAD.encode(sha256(account.as_bytes()));
        texts.push(format!(
            "INSERT INTO sessions VALUES ('{hash}', 'ses_{account}', 'acc_{account}', {NOW}, {NOW}, {}, 'password', '', '')",
            NOW + 86_400
        ));
    }
    texts
}

#[tokio::test]
async fn accounts_of_before_are_verified_only_where_vouched_for() {
    let dir = TempDir::new();
    let mut connection = store_of(&dir, BEFORE).await;
    for text in rows() {
        sqlx::query(sqlx::AssertSqlSafe(text))
            .execute(&mut connection)
            .await
            .unwrap();
    }
    connection.close().await.unwrap();

    TestControl::start(&dir).await.stop().await;
    let mut sql = dir.sql().await;
    let accounts: Vec<(String, Option<String>, Option<i64>)> =
        sqlx::query_as("SELECT id, password_hash, verified_at FROM accounts ORDER BY id")
            .fetch_all(&mut sql)
            .await
            .unwrap();
    let accounts: Vec<(&str, Option<&str>, bool)> = accounts
        .iter()
        .map(|(id, hash, at)| (id.as_str(), hash.as_deref(), at.is_some()))
        .collect();
    assert_eq!(
        accounts,
        [
            ("acc_eve", Some("z"), false),
            ("acc_made", Some("y"), true),
            // An open invitation has an account of its own, and so has a further membership.
            ("acc_mem_3", None, false),
            ("acc_mem_6", Some("z"), false),
            ("acc_none", None, false),
            ("acc_oidc", None, true),
            ("acc_own", Some("x"), true),
        ]
    );
    let members: Vec<(String, String)> = sqlx::query_as("SELECT id, account FROM members ORDER BY id")
        .fetch_all(&mut sql)
        .await
        .unwrap();
    let members: Vec<(&str, &str)> = members
        .iter()
        .map(|(id, account)| (id.as_str(), account.as_str()))
        .collect();
    assert_eq!(
        members,
        [
            ("mem_1", "acc_own"),
            ("mem_2", "acc_oidc"),
            ("mem_3", "acc_mem_3"),
            ("mem_4", "acc_made"),
            ("mem_5", "acc_eve"),
            ("mem_6", "acc_mem_6"),
            ("mem_7", "acc_none"),
        ]
    );
    let sessions: Vec<String> = sqlx::query_scalar("SELECT id FROM sessions")
        .fetch_all(&mut sql)
        .await
        .unwrap();
    assert_eq!(
        sessions,
        ["ses_eve"],
        "who has joined nothing has nothing to be signed in to"
    );
}
