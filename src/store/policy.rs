//! The rows of a snapshot: everything that gateways must know, read in large pieces.
//!
//! A million rows cost the driver many times what they cost the database. So the database joins the rows of a piece
//! into one text: one line for each row, its fields separated by tabs. Identifiers, digests and numbers contain no
//! control characters. Each piece begins after the last row of the piece before.

use super::rows::{FIELD, LINE, fields};
use std::collections::HashMap;

use sqlx::AnyConnection;

use super::database::ReadTx;
use super::error::StoreError;
use crate::model::app::{App, AppKey};

/// Rows in one piece: about 300 KiB of text.
const PIECE_ROWS: i64 = 2_000;

/// An app, as it appears in a snapshot.
#[derive(Debug)]
pub struct PolicyApp {
    pub id: String,
    pub workspace: String,
    pub scopes: Vec<String>,
    pub not_issued_before: u64,
    pub keys: Vec<PolicyKey>,
}

/// An app's key, as it appears in a snapshot.
#[derive(Debug)]
pub struct PolicyKey {
    pub id: String,
    pub not_issued_before: u64,
}

impl PolicyApp {
    /// The app with these keys.
    pub fn new(app: &App, keys: &[AppKey]) -> Self {
        let keys = keys.iter().map(|key| PolicyKey {
            id: key.id.as_str().to_owned(),
            not_issued_before: key.not_issued_before.0,
        });
        Self {
            id: app.id.as_str().to_owned(),
            workspace: app.workspace.as_str().to_owned(),
            scopes: app.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            not_issued_before: app.not_issued_before.0,
            keys: keys.collect(),
        }
    }
}

/// A source, as it appears in a snapshot.
#[derive(Debug)]
pub struct PolicySource {
    pub id: String,
    pub workspace: String,
    pub write_key_digest: String,
    pub enforcement: String,
    pub app: Option<String>,
}

/// A revocation, as it appears in a snapshot.
#[derive(Debug)]
pub struct PolicyRevocation {
    pub issuer: String,
    pub token_id: String,
    pub expires_at: u64,
}

fn moment_in(text: &str, table: &'static str) -> Result<u64, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupted(table))
}

/// The lines of the next piece of a table that is read in the order of its ids, and the last id in it.
async fn next_lines(
    connection: &mut AnyConnection,
    statement: &'static str,
    after: &str,
) -> Result<Option<(String, String)>, StoreError> {
    let (lines, last): (Option<String>, Option<String>) = sqlx::query_as(statement)
        .bind(FIELD)
        .bind(LINE)
        .bind(after)
        .bind(PIECE_ROWS)
        .fetch_one(connection)
        .await?;
    Ok(lines.zip(last))
}

impl ReadTx {
    /// Every app with its keys, for a snapshot.
    pub(crate) async fn policy_apps(&mut self) -> Result<Vec<PolicyApp>, StoreError> {
        let mut keys = self.policy_keys().await?;
        let (mut found, mut after) = (Vec::new(), String::new());
        let statement = "SELECT string_agg(id || $1 || workspace || $1 || scopes || $1 || \
             CAST(not_issued_before AS TEXT), $2), MAX(id) \
             FROM (SELECT id, workspace, scopes, not_issued_before FROM apps WHERE id > $3 ORDER BY id LIMIT $4) piece";
        while let Some((lines, last)) = next_lines(self.connection(), statement, &after).await? {
            for line in lines.split(LINE) {
                let [id, workspace, scopes, moment] = fields(line, "apps")?;
                found.push(PolicyApp {
                    keys: keys.remove(id).unwrap_or_default(),
                    id: id.to_owned(),
                    workspace: workspace.to_owned(),
                    scopes: scopes.split(' ').map(str::to_owned).collect(),
                    not_issued_before: moment_in(moment, "apps")?,
                });
            }
            after = last;
        }
        Ok(found)
    }

    /// The keys of every app, by the app's id, each app's oldest first.
    async fn policy_keys(&mut self) -> Result<HashMap<String, Vec<PolicyKey>>, StoreError> {
        let (mut found, mut after) = (HashMap::<String, Vec<PolicyKey>>::new(), String::new());
        let statement = "SELECT string_agg(id || $1 || app || $1 || CAST(not_issued_before AS TEXT), $2), MAX(id) \
             FROM (SELECT id, app, not_issued_before FROM app_keys WHERE id > $3 ORDER BY id LIMIT $4) piece";
        while let Some((lines, last)) = next_lines(self.connection(), statement, &after).await? {
            for line in lines.split(LINE) {
                let [id, app, moment] = fields(line, "app_keys")?;
                let key = PolicyKey {
                    id: id.to_owned(),
                    not_issued_before: moment_in(moment, "app_keys")?,
                };
                found.entry(app.to_owned()).or_default().push(key);
            }
            after = last;
        }
        // The order of lines within a piece depends on the database.
        for keys in found.values_mut() {
            keys.sort_by(|one, other| one.id.cmp(&other.id));
        }
        Ok(found)
    }

    /// Every source, for a snapshot.
    pub(crate) async fn policy_sources(&mut self) -> Result<Vec<PolicySource>, StoreError> {
        let (mut found, mut after) = (Vec::new(), String::new());
        let statement = "SELECT string_agg(id || $1 || workspace || $1 || write_key_digest || $1 || enforcement || \
             $1 || COALESCE(app, ''), $2), MAX(id) \
             FROM (SELECT id, workspace, write_key_digest, enforcement, app FROM sources WHERE id > $3 \
             ORDER BY id LIMIT $4) piece";
        while let Some((lines, last)) = next_lines(self.connection(), statement, &after).await? {
            for line in lines.split(LINE) {
                let [id, workspace, digest, enforcement, app] = fields(line, "sources")?;
                found.push(PolicySource {
                    id: id.to_owned(),
                    workspace: workspace.to_owned(),
                    write_key_digest: digest.to_owned(),
                    enforcement: enforcement.to_owned(),
                    app: (!app.is_empty()).then(|| app.to_owned()),
                });
            }
            after = last;
        }
        Ok(found)
    }

    /// Every revocation, for a snapshot. Includes those whose tokens have expired until they are deleted: if a clock
    /// runs ahead for a while and is set back, the tokens must still be denied.
    pub(crate) async fn policy_revocations(&mut self) -> Result<Vec<PolicyRevocation>, StoreError> {
        const TABLE: &str = "revocations";
        let mut found = Vec::new();
        // In the order of an index that covers the query.
        let mut after = (0_i64, String::new(), String::new());
        loop {
            let last: Option<(i64, String, String)> = sqlx::query_as(
                "SELECT expires_at, issuer, token_id FROM revocations \
                 WHERE (expires_at, issuer, token_id) >= ($1, $2, $3) \
                 ORDER BY expires_at, issuer, token_id LIMIT 1 OFFSET $4",
            )
            .bind(after.0)
            .bind(after.1.as_str())
            .bind(after.2.as_str())
            .bind(PIECE_ROWS)
            .fetch_optional(self.connection())
            .await?;
            let is_end = last.is_none();
            // No revocation expires this late.
            let last = last.unwrap_or_else(|| (i64::MAX, String::new(), String::new()));
            let lines: Option<String> = sqlx::query_scalar(
                "SELECT string_agg(CAST(expires_at AS TEXT) || $1 || issuer || $1 || token_id, $2) \
                 FROM revocations WHERE (expires_at, issuer, token_id) >= ($3, $4, $5) \
                 AND (expires_at, issuer, token_id) < ($6, $7, $8)",
            )
            .bind(FIELD)
            .bind(LINE)
            .bind(after.0)
            .bind(after.1.as_str())
            .bind(after.2.as_str())
            .bind(last.0)
            .bind(last.1.as_str())
            .bind(last.2.as_str())
            .fetch_one(self.connection())
            .await?;
            for line in lines.iter().flat_map(|lines| lines.split(LINE)) {
                let [expires_at, issuer, token_id] = fields(line, TABLE)?;
                found.push(PolicyRevocation {
                    issuer: issuer.to_owned(),
                    token_id: token_id.to_owned(),
                    expires_at: moment_in(expires_at, TABLE)?,
                });
            }
            if is_end {
                return Ok(found);
            }
            after = last;
        }
    }
}
