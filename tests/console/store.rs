//! What tests put into a store that nobody has open, because no page makes it.

use std::path::Path;

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::support::product::Env;

/// Runs statements on the store of a folder that quickstart left.
pub fn run(dir: &Path, statements: &[String]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(dir.join("portcullis.db"));
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        for statement in statements {
            sqlx::query(sqlx::AssertSqlSafe(statement.clone()))
                .execute(&mut connection)
                .await
                .unwrap();
        }
        connection.close().await.unwrap();
    });
}

/// A notice of an access token of the sample app that was found at `url`.
pub fn notice(env: &Env, number: u32, url: &str, source: &str) -> String {
    format!(
        "INSERT INTO leaked_tokens (id, workspace, kind, token_hash, token_id, owner, url, source, reporter, reported_at) \
         VALUES ('leak_{number:032x}', '{}', 'access_token', '{number:064x}', 'jti-{number}', '{}', '{}', '{}', \
         'github_secret_scanning', 1700000000)",
        env.get("WORKSPACE_ID"),
        env.get("CLIENT_ID"),
        url.replace('\'', "''"),
        source.replace('\'', "''")
    )
}

/// So many more sources of the sample workspace, all connected to the sample app: a third of them enforced, a third
/// observed. Their names are numbered.
pub fn sources(env: &Env, count: u32) -> Vec<String> {
    let workspace = env.get("WORKSPACE_ID");
    vec![
        format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
             INSERT INTO sources (id, workspace, name, kind, write_key, write_key_digest, enforcement, app, created_at, search) \
             SELECT printf('src_%032x', i), '{workspace}', 'Source number ' || i, 'nodejs', 'many' || i, printf('%021xA', i), \
             CASE i % 3 WHEN 0 THEN 'on' WHEN 1 THEN 'observe' ELSE 'off' END, '{}', 1, 'source number ' || i FROM n",
            env.get("CLIENT_ID")
        ),
        format!("DELETE FROM source_counts WHERE workspace = '{workspace}'"),
        format!(
            "INSERT INTO source_counts (workspace, enforcement, sources) \
             SELECT workspace, enforcement, COUNT(*) FROM sources WHERE workspace = '{workspace}' GROUP BY workspace, enforcement"
        ),
    ]
}
