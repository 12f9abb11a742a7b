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
