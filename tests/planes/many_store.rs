//! A store filled by statements: rows as the product writes them, a million of them in a minute.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};

use super::admin::{admin, run};
use super::support::secrets;

/// The owner's.
pub const PASSWORD: &str = "an owner's long password";

/// Rows of one statement.
const TOGETHER: u64 = 500;

/// How many rows of each sort there are.
#[derive(Clone, Copy)]
pub struct Filling {
    pub sources: u64,
    pub apps: u64,
    pub revocations: u64,
    pub events: u64,
    pub members: u64,
}

// Ids in the order of time, before those that the product makes now.
pub fn source_id(at: u64) -> String {
    format!("src_01900000000070008000{at:012x}")
}

pub fn app_id(at: u64) -> String {
    format!("app_01900000000070008000{at:012x}")
}

fn key_id(at: u64) -> String {
    format!("key_01900000000070008000{at:012x}")
}

pub fn member_id(at: u64) -> String {
    format!("mem_01900000000070008000{at:012x}")
}

pub fn event_id(at: u64) -> String {
    format!("evt_01900000000070008000{at:012x}")
}

/// Bytes that look like chance, in base64url.
fn scrambled(what: &str, at: u64, bytes: usize) -> String {
    URL_SAFE_NO_PAD.encode(&digest(&SHA256, format!("{what}{at}").as_bytes()).as_ref()[..bytes])
}

fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()).as_ref())
}

async fn one(connection: &mut AnyConnection, text: &'static str) -> i64 {
    sqlx::query_scalar(text).fetch_one(connection).await.unwrap()
}

async fn insert(connection: &mut AnyConnection, into: &str, rows: u64, row: impl Fn(u64) -> String) {
    let mut tx = connection.begin().await.unwrap();
    for first in (0..rows).step_by(TOGETHER as usize) {
        let values: Vec<String> = (first..rows.min(first + TOGETHER)).map(&row).collect();
        let text = format!("INSERT INTO {into} VALUES {}", values.join(", "));
        sqlx::raw_sql(AssertSqlSafe(text))
            .execute(&mut *tx)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
}

impl Filling {
    pub fn of(sources: u64) -> Self {
        Self {
            sources,
            apps: sources / 10,
            revocations: sources,
            events: sources,
            members: 1_000,
        }
    }

    /// The API token of one of the members.
    pub fn token_of_member(at: u64) -> String {
        format!("pcl_{at:040}")
    }

    /// Makes the store, a workspace and its owner. Answers the workspace's id and an API token.
    pub async fn begin(config: &Path, url: &str) -> (String, String) {
        let owner = ["owner", "--email", "owner@many.example", "--workspace", "Many"];
        let made = run(admin(&owner, config), PASSWORD);
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        let token = format!("pcl_{}", "o".repeat(40));
        secrets::note([token.as_str()]);
        let mut connection = Self::connect(url).await;
        let workspace: String = sqlx::query_scalar("SELECT id FROM workspaces")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        let text = format!(
            "INSERT INTO api_tokens (id, member, name, hash, prefix, created_at) \
             SELECT 'tok_owner', id, 'many', '{}', 'pcl_oooo', 1 FROM members",
            hash(&token)
        );
        sqlx::raw_sql(AssertSqlSafe(text))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        (workspace, token)
    }

    async fn connect(url: &str) -> AnyConnection {
        sqlx::any::install_default_drivers();
        AnyConnection::connect(url).await.unwrap()
    }

    /// Fills a store that nobody has open.
    pub async fn fill(self, url: &str, workspace: &str, pem: &str, issuer: &str) {
        let mut connection = Self::connect(url).await;
        let is_file = url.starts_with("sqlite:");
        if is_file {
            sqlx::raw_sql("PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000")
                .execute(&mut connection)
                .await
                .unwrap();
        }
        let now = one(&mut connection, "SELECT created_at FROM workspaces").await;
        self.fill_policy(&mut connection, workspace, pem, issuer, now)
            .await;
        self.fill_members(&mut connection, workspace, now).await;
        self.fill_trail(&mut connection, workspace, now).await;
        if !is_file {
            // As its server does before long.
            for text in ["VACUUM ANALYZE", "CHECKPOINT"] {
                sqlx::raw_sql(text).execute(&mut connection).await.unwrap();
            }
        }
        connection.close().await.unwrap();
        if let Some(path) = url.strip_prefix("sqlite:") {
            // The rows of a store that has grown are on its disk: the first change is not to wait for all of them.
            std::fs::File::open(path).unwrap().sync_all().unwrap();
        }
    }

    async fn fill_policy(
        self,
        connection: &mut AnyConnection,
        workspace: &str,
        pem: &str,
        issuer: &str,
        now: i64,
    ) {
        // The tokens of one app in ten were ended, and those of one key in ten.
        let ended = |at: u64, rest: u64| if at % 10 == rest { now - 1_000 } else { 0 };
        let apps =
            "apps (id, workspace, name, scopes, token_lifetime, not_issued_before, created_at, search)";
        insert(connection, apps, self.apps, |at| {
            format!(
                "('{}', '{workspace}', 'App number {at}', 'tracking_api:write', '1d', {}, {now}, 'app number {at}')",
                app_id(at),
                ended(at, 3)
            )
        })
        .await;
        let keys = "app_keys (id, app, name, pem, thumbprint, algorithm, created_at, not_issued_before)";
        insert(connection, keys, self.apps, |at| {
            format!(
                "('{}', '{}', 'key', '{pem}', '{}', 'ES256', {now}, {})",
                key_id(at),
                app_id(at),
                scrambled("thumbprint", at, 32),
                ended(at, 7)
            )
        })
        .await;
        let sources = "sources (id, workspace, name, kind, write_key, write_key_digest, enforcement, app, created_at, search)";
        insert(connection, sources, self.sources, |at| {
            let kind = if at % 5_000 == 0 { "source_function" } else { "nodejs" };
            let mode = match at % 10_000 {
                1 => "off",
                at if at % 10 == 2 => "observe",
                _ => "on",
            };
            format!(
                "('{}', '{workspace}', 'Source number {at}', '{kind}', 'writekey{at}', '{}', '{mode}', '{}', {now}, \
                 'source number {at}')",
                source_id(at),
                scrambled("write key", at, 16),
                app_id(at / 10 % self.apps)
            )
        })
        .await;
        let counted = "DELETE FROM source_counts; \
             INSERT INTO source_counts (workspace, enforcement, sources) \
             SELECT workspace, enforcement, COUNT(*) FROM sources GROUP BY workspace, enforcement";
        sqlx::raw_sql(counted).execute(&mut *connection).await.unwrap();
        let revocations = "revocations (issuer, token_id, expires_at, app, at, reason)";
        insert(connection, revocations, self.revocations, |at| {
            format!(
                "('{issuer}', '{}', {}, '{}', {now}, 'revoked by a member')",
                scrambled("token", at, 24),
                now + 86_400 + i64::try_from(at).unwrap(),
                app_id(at % self.apps)
            )
        })
        .await;
    }

    async fn fill_members(self, connection: &mut AnyConnection, workspace: &str, now: i64) {
        let account = |at: u64| format!("acc_01900000000070008000{at:012x}");
        insert(
            connection,
            "accounts (id, email, created_at)",
            self.members,
            |at| format!("('{}', 'member-{at}@many.example', {now})", account(at)),
        )
        .await;
        let members = "members (id, workspace, account, created_at, joined_at)";
        insert(connection, members, self.members, |at| {
            format!(
                "('{}', '{workspace}', '{}', {now}, {now})",
                member_id(at),
                account(at)
            )
        })
        .await;
        // Every other member has 20 sources, the rest all functions.
        insert(
            connection,
            "grants (member, role, resource)",
            self.members * 20,
            |at| {
                let (member, nth) = (at / 20, at % 20);
                let of = at * 31 % self.sources;
                match member % 2 {
                    0 => format!("('{}', 'source_admin', '{}')", member_id(member), source_id(of)),
                    _ if nth == 0 => format!("('{}', 'function_admin', '*')", member_id(member)),
                    _ => format!(
                        "('{}', 'source_read_only', '{}')",
                        member_id(member),
                        source_id(of)
                    ),
                }
            },
        )
        .await;
        let tokens = "api_tokens (id, member, name, hash, prefix, created_at)";
        insert(connection, tokens, self.members.min(2), |at| {
            let token = Self::token_of_member(at);
            secrets::note([token.as_str()]);
            format!(
                "('tok_{at}', '{}', 'many', '{}', 'pcl_0000', {now})",
                member_id(at),
                hash(&token)
            )
        })
        .await;
        let other = |at: u64| format!("ws_01900000000070008000{at:012x}");
        insert(connection, "workspaces (id, name, created_at)", 300, |at| {
            format!("('{}', 'Other {at}', {now})", other(at))
        })
        .await;
        let owner: String = sqlx::query_scalar("SELECT id FROM accounts WHERE email = 'owner@many.example'")
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        insert(connection, members, 300, |at| {
            format!("('mem_other_{at}', '{}', '{owner}', {now}, {now})", other(at))
        })
        .await;
    }

    /// The hashes are not those of a chain: nothing measured looks at them.
    async fn fill_trail(self, connection: &mut AnyConnection, workspace: &str, now: i64) {
        let newest = one(connection, "SELECT newest_position FROM audit_chain").await;
        let events = "audit_events (position, id, workspace, at, action, actor_type, actor_id, actor_name, resource_type, \
             resource_id, resource_name, changed_to, hash)";
        insert(connection, events, self.events, |at| {
            let member = at % self.members;
            let position = i64::try_from(at).unwrap();
            let (action, kind) = match at % 100_000 {
                7 => ("workspace.renamed", "workspace"),
                _ => ("source.created", "source"),
            };
            format!(
                "({}, '{}', '{workspace}', {}, '{action}', 'member', '{}', 'member-{member}@many.example', '{kind}', '{}', \
                 'Source number {at}', '{{\"name\":\"Source number {at}\",\"kind\":\"nodejs\"}}', '{}')",
                newest + 1 + position,
                event_id(at),
                now - 5_000_000 + position,
                member_id(member),
                source_id(at),
                scrambled("event", at, 32)
            )
        })
        .await;
        let text = format!(
            "UPDATE audit_chain SET newest_position = {}, newest_hash = '{}'",
            newest + i64::try_from(self.events).unwrap(),
            scrambled("event", self.events - 1, 32)
        );
        sqlx::raw_sql(AssertSqlSafe(text))
            .execute(connection)
            .await
            .unwrap();
    }
}
