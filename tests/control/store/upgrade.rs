//! Upgrades: a store made by each earlier schema keeps its rows, and its credentials keep working.
//!
//! There is one schema so far. A migration that changes a table extends [`Earlier`]: rows that the new schema takes
//! differently depend on `steps`, and the checks stay as they are.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::control::verify_trail;
use portcullis::domain::access_token::VerifiedToken;
use portcullis::domain::digest::sha256;
use portcullis::domain::ids::{SourceId, WorkspaceId, WriteKey};
use portcullis::domain::key::PublicKey;
use portcullis::domain::policy::{Freshness, WhenStale};
use portcullis::snapshot;
use portcullis::store::Store;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection as _, migrate::Migrator};

use crate::support::{
    AUDIENCE, ISSUER, NOW, OPERATOR, TRAIL_AGE, TempDir, TestControl, TestKey, header_of, unique,
};

const MIGRATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/migrations");

/// The number of the newest migration.
fn newest_step() -> i64 {
    let files = std::fs::read_dir(MIGRATIONS).unwrap();
    let steps = files.map(|file| {
        let name = file.unwrap().file_name().into_string().unwrap();
        name.split('_').next().unwrap().parse::<i64>().unwrap()
    });
    steps.max().unwrap()
}

/// A store with the schema of the first `steps` migrations.
async fn store_of(dir: &TempDir, steps: i64) -> AnyConnection {
    let mut connection = dir.sql().await;
    let mut migrator = Migrator::new(Path::new(MIGRATIONS)).await.unwrap();
    let kept = migrator.iter().filter(|step| step.version <= steps).cloned();
    migrator.migrations = kept.collect();
    migrator.run(&mut connection).await.unwrap();
    connection
}

const DAY: u64 = 86_400;
const WRITE_KEY: &str = "write-key-of-an-earlier-build";
const SESSION: &str = "SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSS";
const REVOKED: &str = "token-id-of-an-earlier-build";

/// The hashes of the two events below, as the build that first wrote a trail made them.
const HASHES: [&str; 2] = [
    "uJjY8Xoatbnm5C8jwbtOZy7ZLdUQ_sv9OFNx1sHBQnk",
    "uohnitRDt_tdIWaXxVXQVbEJ-eWpsCqlAPR9QtuAQ9c",
];

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn thumbprint(key: &TestKey) -> String {
    PublicKey::from_pem(&key.public_pem)
        .unwrap()
        .thumbprint()
        .to_string()
}

/// The rows of a store that an earlier build wrote, and the credentials they belong to.
struct Earlier {
    app_key: TestKey,
    signing: TestKey,
    retired: TestKey,
    api_token: String,
    /// A client assertion that was used.
    used: String,
}

impl Earlier {
    fn new() -> Self {
        let app_key = TestKey::p256();
        let used = app_key.sign(&Self::header(), &Self::claims("used"));
        Self {
            app_key,
            signing: TestKey::p256(),
            retired: TestKey::p256(),
            api_token: format!("pcl_{}", "u".repeat(40)),
            used,
        }
    }

    fn header() -> Value {
        json!({"alg": "ES256", "kid": "key_1", "typ": "JWT"})
    }

    fn claims(id: &str) -> Value {
        json!({"iss": "app_1", "sub": "app_1", "aud": ISSUER, "iat": NOW - 5, "exp": NOW + 55, "jti": id})
    }

    /// An access token signed by `by`.
    fn token(&self, by: &TestKey) -> String {
        let header = json!({"alg": "ES256", "kid": thumbprint(by), "typ": "at+jwt"});
        let claims = json!({
            "iss": ISSUER, "sub": "app_1", "client_id": "app_1", "aud": AUDIENCE, "iat": NOW - 450,
            "exp": NOW + DAY, "jti": "kept", "scope": "tracking_api:write", "workspace_id": "ws_1",
            "client_key_id": "key_1",
        });
        by.sign(&header, &claims)
    }

    /// The rows, in the form that the schema of the first `steps` migrations takes.
    fn rows(&self, _steps: i64) -> Vec<String> {
        let mut rows = self.directory();
        rows.extend(self.signing_keys());
        rows.extend(self.people());
        rows.extend(self.ledger());
        rows
    }

    fn directory(&self) -> Vec<String> {
        let digest = WriteKey::parse(WRITE_KEY).unwrap().digest();
        let digest = base64url(&digest.0.to_bytes());
        let (pem, thumbprint) = (&self.app_key.public_pem, thumbprint(&self.app_key));
        vec![
            "UPDATE policy_version SET version = 3".to_owned(),
            format!("INSERT INTO policy_changes (version, body, at) VALUES (3, '[]', {NOW})"),
            format!(
                "INSERT INTO workspaces (id, name, created_at, not_issued_before) VALUES ('ws_1', 'One', {}, {})",
                NOW - 1_000,
                NOW - 700
            ),
            format!(
                "INSERT INTO apps (id, workspace, name, scopes, token_lifetime, not_issued_before, revision, created_at, search) \
                 VALUES ('app_1', 'ws_1', 'Sender', 'tracking_api:write', '2d', {}, 4, {}, 'sender')",
                NOW - 500,
                NOW - 900
            ),
            format!(
                "INSERT INTO app_keys (id, app, name, pem, thumbprint, algorithm, created_at, last_used_at, not_issued_before) \
                 VALUES ('key_1', 'app_1', 'first', '{pem}', '{thumbprint}', 'ES256', {}, {}, {})",
                NOW - 900,
                NOW - 100,
                NOW - 600
            ),
            format!(
                "INSERT INTO sources (id, workspace, name, kind, write_key, write_key_digest, enforcement, app, created_at, search) \
                 VALUES ('src_1', 'ws_1', 'Web Site', 'python', '{WRITE_KEY}', '{digest}', 'on', 'app_1', {}, 'web site')",
                NOW - 800
            ),
            "INSERT INTO source_counts (workspace, enforcement, sources) VALUES ('ws_1', 'on', 1)".to_owned(),
        ]
    }

    fn signing_keys(&self) -> Vec<String> {
        let der = |key: &TestKey| -> String {
            key.private_pem
                .lines()
                .filter(|line| !line.starts_with("-----"))
                .collect()
        };
        let retired = format!("{}, {}", NOW - 1_000, NOW + DAY);
        let keys = [
            (&self.retired, NOW - 2_000, retired.as_str()),
            (&self.signing, NOW - 1_000, "NULL, NULL"),
        ];
        keys.map(|(key, from, until)| {
            let (id, der) = (thumbprint(key), der(key));
            format!(
                "INSERT INTO signing_keys (id, algorithm, secret, public, created_at, signs_from, signs_until, ends_at) \
                 VALUES ('{id}', 'ES256', '{der}', '', {from}, {from}, {until})"
            )
        })
        .to_vec()
    }

    fn people(&self) -> Vec<String> {
        let hash = base64url(&sha256(self.api_token.as_bytes()));
        let session = base64url(&sha256(SESSION.as_bytes()));
        let day = NOW + DAY;
        vec![
            format!(
                "INSERT INTO accounts (id, email, password_hash, created_at, verified_at) \
                 VALUES ('acc_1', 'a@example.com', 'hash', {NOW}, {NOW}), ('acc_2', 'b@example.com', NULL, {NOW}, NULL)"
            ),
            format!(
                "INSERT INTO members (id, workspace, account, created_at, joined_at) \
                 VALUES ('mem_1', 'ws_1', 'acc_1', {NOW}, {NOW}), ('mem_2', 'ws_1', 'acc_2', {NOW}, NULL)"
            ),
            "INSERT INTO grants (member, role, resource) \
             VALUES ('mem_1', 'workspace_owner', '*'), ('mem_2', 'source_admin', 'src_1')"
                .to_owned(),
            format!("INSERT INTO invitations (member, hash, expires_at) VALUES ('mem_2', '{hash}', {day})"),
            format!(
                "INSERT INTO api_tokens (id, member, name, hash, prefix, created_at, last_used_at, expires_at) \
                 VALUES ('tok_1', 'mem_1', 'old', '{hash}', 'pcl_uuuu', {NOW}, NULL, {day})"
            ),
            format!(
                "INSERT INTO sessions (hash, id, account, created_at, last_seen_at, expires_at, method, user_agent, address) \
                 VALUES ('{session}', 'ses_1', 'acc_1', {NOW}, {NOW}, {day}, 'password', 'test', '192.0.2.1')"
            ),
            format!(
                "INSERT INTO known_browsers (hash, account, expires_at) VALUES ('{hash}', 'acc_1', {day})"
            ),
            "INSERT INTO identities (issuer, subject, account) VALUES ('https://id.test', 's', 'acc_1')"
                .to_owned(),
        ]
    }

    fn ledger(&self) -> Vec<String> {
        let input = self.used.rsplit_once('.').unwrap().0;
        let used = base64url(&sha256(input.as_bytes()));
        let columns = "position, id, workspace, at, action, actor_type, actor_id, actor_name, address, \
                       resource_type, resource_id, resource_name, changed_to, hash";
        let [first, last] = HASHES;
        vec![
            format!(
                "INSERT INTO used_assertions (digest, expires_at) VALUES ('{used}', {})",
                NOW + 55
            ),
            format!(
                "INSERT INTO revocations (issuer, token_id, expires_at, app, at, reason) \
                 VALUES ('{ISSUER}', '{REVOKED}', {}, 'app_1', {NOW}, 'test')",
                NOW + DAY
            ),
            format!(
                "INSERT INTO traffic (source, span, verdict, reason, agent, address, requests) \
                 VALUES ('src_1', {NOW}, 'deny', 'token_missing', '', '', 7)"
            ),
            format!(
                "INSERT INTO workspace_traffic (workspace, span, verdict, requests) VALUES ('ws_1', {NOW}, 'deny', 7)"
            ),
            format!(
                "INSERT INTO audit_events ({columns}) VALUES (1, 'evt_1', 'ws_1', {}, 'app.created', 'member', \
                 'mem_1', 'a@example.com', '192.0.2.1', 'app', 'app_1', 'Sender', '{{\"name\":\"Sender\"}}', '{first}')",
                NOW - 900
            ),
            format!(
                "INSERT INTO audit_events ({columns}) VALUES (2, 'evt_2', NULL, {}, 'account.password_reset', \
                 'system', 'admin', 'admin', NULL, 'account', 'acc_1', 'a@example.com', NULL, '{last}')",
                NOW - 800
            ),
            format!("UPDATE audit_chain SET newest_position = 2, newest_hash = '{last}'"),
            format!(
                "INSERT INTO issued_tokens (app, app_key, signing_key, issued_hour, expires_hour, issued) \
                 VALUES ('app_1', 'key_1', '{}', {}, {}, 5)",
                thumbprint(&self.signing),
                NOW / 3_600,
                NOW / 3_600 + 48
            ),
            format!(
                "INSERT INTO leaked_tokens (id, workspace, kind, token_hash, token_id, owner, url, source, reporter, reported_at) \
                 VALUES ('leak_1', 'ws_1', 'access_token', '{}', '{REVOKED}', 'app_1', 'https://x.test', 'content', 'github', {NOW})",
                "0".repeat(64)
            ),
        ]
    }
}

/// Checks what this build reads from a store that was made with the first `steps` migrations.
async fn check_upgraded(server: &TestControl, dir: &TempDir, earlier: &Earlier, steps: i64) {
    let authorization = format!("Bearer {}", earlier.api_token);
    let read = async |path: &str| {
        let target = format!("/api/v1/workspaces/ws_1{path}");
        let headers = [("Authorization", authorization.as_str())];
        let answer = server.send("GET", &target, &headers, b"").await;
        assert_eq!(answer.status, 200, "step {steps}, {path}: {answer:?}");
        answer.json()
    };
    assert_eq!(read("").await["name"], "One");
    let app = read("/apps/app_1").await;
    let key = &app["keys"][0];
    assert_eq!(
        (
            &app["name"],
            &app["token_lifetime"],
            &app["scopes"],
            &app["sources"],
            &key["id"],
            &key["thumbprint"]
        ),
        (
            &json!("Sender"),
            &json!("2d"),
            &json!(["tracking_api:write"]),
            &json!(["src_1"]),
            &json!("key_1"),
            &json!(thumbprint(&earlier.app_key))
        ),
        "step {steps}"
    );
    assert!(key["last_used_at"].is_string(), "{key}");
    let source = read("/sources/src_1").await;
    assert_eq!(
        (
            &source["name"],
            &source["write_key"],
            &source["enforcement"],
            &source["app_id"],
            &source["kind"]
        ),
        (
            &json!("Web Site"),
            &json!(WRITE_KEY),
            &json!("on"),
            &json!("app_1"),
            &json!("python")
        ),
        "step {steps}"
    );
    let members = read("/members").await["items"].as_array().unwrap().clone();
    assert_eq!(members[0]["email"], "a@example.com");
    assert_eq!(members.len(), 2);
    let events = read("/audit-events").await;
    let oldest = events["items"].as_array().unwrap().last().unwrap();
    assert_eq!(oldest["id"], "evt_1", "step {steps}");
    assert_eq!(read("/leaked-tokens").await["items"][0]["id"], "leak_1");
    check_tokens(server, earlier, steps).await;
    check_ledger(server, dir, steps).await;
}

/// Checks what is stored besides the policy.
async fn check_ledger(server: &TestControl, dir: &TempDir, steps: i64) {
    let (workspace, source) = (
        WorkspaceId::parse("ws_1").unwrap(),
        SourceId::parse("src_1").unwrap(),
    );
    let traffic = server
        .control
        .traffic
        .source_traffic(&OPERATOR, &workspace, &source)
        .await
        .unwrap();
    assert_eq!(traffic.day[0].requests, 7, "step {steps}");
    let of_all = server
        .control
        .traffic
        .workspace_traffic(&OPERATOR, &workspace)
        .await
        .unwrap();
    assert_eq!(of_all[0].requests, 7, "step {steps}");
    let store = Store::open_to_read(&dir.store()).await.unwrap();
    let trail = verify_trail(&store, None, &TRAIL_AGE).await.unwrap();
    store.close().await;
    assert!(
        trail.faults.is_empty() && trail.events >= 2,
        "step {steps}: {:?}",
        trail.faults
    );
    let cookie = format!("__Host-portcullis={SESSION}");
    let session = server
        .send("GET", "/api/v1/session", &[("Cookie", &cookie)], b"")
        .await;
    assert_eq!(session.json()["email"], "a@example.com", "step {steps}");
    let mut sql = dir.sql().await;
    let mut count =
        async |text: &'static str| -> i64 { sqlx::query_scalar(text).fetch_one(&mut sql).await.unwrap() };
    assert_eq!(
        count("SELECT count(*) FROM apps WHERE search = 'sender'").await,
        1,
        "step {steps}"
    );
    assert_eq!(
        count("SELECT count(*) FROM sources WHERE search = 'web site'").await,
        1,
        "step {steps}"
    );
    assert_eq!(count("SELECT count(*) FROM invitations").await, 1);
    assert_eq!(count("SELECT count(*) FROM known_browsers").await, 1);
    assert_eq!(count("SELECT count(*) FROM identities").await, 1);
    assert_eq!(
        count("SELECT sources FROM source_counts WHERE workspace = 'ws_1' AND enforcement = 'on'").await,
        1,
        "step {steps}"
    );
}

/// Checks that accepted tokens are still accepted, and used assertions still rejected.
async fn check_tokens(server: &TestControl, earlier: &Earlier, steps: i64) {
    let replayed = server.ask(&earlier.used, "").await;
    assert_eq!(
        replayed.status, 401,
        "step {steps}: a used assertion is accepted again"
    );
    let assertion = earlier
        .app_key
        .sign(&Earlier::header(), &Earlier::claims(&unique()));
    let issued = server.ask(&assertion, "").await;
    assert_eq!(issued.status, 200, "step {steps}: {issued:?}");
    let issued = issued.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(
        header_of(&issued)["kid"],
        json!(thumbprint(&earlier.signing)),
        "step {steps}"
    );

    let snapshot = server.control.fleet.snapshot().await.unwrap();
    assert!(snapshot.version >= 3, "step {steps}");
    let revoked: Vec<&str> = snapshot
        .revocations
        .iter()
        .map(|entry| entry.token_id.as_str())
        .collect();
    assert_eq!(revoked, [REVOKED], "step {steps}");
    let app = serde_json::to_value(&snapshot.apps[0]).unwrap();
    assert_eq!(app["not_issued_before"], json!(NOW - 500), "step {steps}: {app}");
    let workspace = serde_json::to_value(&snapshot.workspaces[0]).unwrap();
    assert_eq!(workspace["not_issued_before"], json!(NOW - 700), "step {steps}");
    assert!(
        app.to_string().contains(&(NOW - 600).to_string()),
        "step {steps}: {app}"
    );
    let freshness = Freshness {
        max_age_s: 60,
        when_stale: WhenStale::Deny,
    };
    let policy = snapshot::compile(&snapshot, &[], freshness).unwrap();
    for token in [
        issued,
        earlier.token(&earlier.signing),
        earlier.token(&earlier.retired),
    ] {
        assert!(VerifiedToken::verify(&token, &policy).is_ok(), "step {steps}");
    }
}

#[tokio::test]
async fn rows_survive_every_upgrade() {
    for steps in 1..=newest_step() {
        let dir = TempDir::new();
        let earlier = Earlier::new();
        let mut connection = store_of(&dir, steps).await;
        for text in earlier.rows(steps) {
            let done = sqlx::query(sqlx::AssertSqlSafe(text.clone()))
                .execute(&mut connection)
                .await;
            done.unwrap_or_else(|error| panic!("step {steps}: {error}"));
        }
        connection.close().await.unwrap();
        let server = TestControl::start(&dir).await;
        check_upgraded(&server, &dir, &earlier, steps).await;
        server.stop().await;
    }
}
