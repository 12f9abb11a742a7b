//! Reports of leaked tokens: the signature is verified, the token is revoked once, and the owner sees a notice.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis::domain::time::UnixSeconds;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{Answer, HalfSent, NOW, TempDir, Tenant, TestControl, claims_of, pem};

const KEY_ID: &str = "4fe6b016179b74078ade7581abf4e84fb398c6fae4fb973972235b84fcd70ca3";

/// GitHub: a key, and a server that publishes it.
struct Reporter {
    pair: EcdsaKeyPair,
    fetches: Arc<AtomicUsize>,
    keys_url: String,
}

impl Reporter {
    async fn start() -> Self {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let document = json!({"public_keys": [
            {"key_identifier": "of another kind", "key": "unreadable", "is_current": false},
            {"key_identifier": KEY_ID, "key": pem("PUBLIC KEY", public.as_ref()), "is_current": true},
        ]})
        .to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let keys_url = format!("http://{}/keys", listener.local_addr().unwrap());
        let fetches = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&fetches);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await.unwrap();
                // As api.github.com does.
                let head = String::from_utf8_lossy(&head).to_lowercase();
                let status = match head.contains("\r\nuser-agent: portcullis/") {
                    true => "200 OK",
                    false => "403 Forbidden",
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{document}",
                    document.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self {
            pair,
            fetches,
            keys_url,
        }
    }

    fn sign(&self, body: &[u8]) -> String {
        STANDARD.encode(self.pair.sign(&SystemRandom::new(), body).unwrap())
    }

    async fn report(&self, server: &TestControl, entries: &Value) -> Answer {
        let body = entries.to_string();
        send(server, KEY_ID, &self.sign(body.as_bytes()), &body).await
    }
}

async fn send(server: &TestControl, key_id: &str, signature: &str, body: &str) -> Answer {
    let headers = [
        ("Content-Type", "application/json"),
        ("Github-Public-Key-Identifier", key_id),
        ("Github-Public-Key-Signature", signature),
    ];
    server
        .send("POST", "/leaked-tokens/github", &headers, body.as_bytes())
        .await
}

async fn start(dir: &TempDir, reporter: &Reporter) -> TestControl {
    let uri = reporter.keys_url.parse().unwrap();
    TestControl::start_with(dir, |settings| settings.leaked_tokens.github_keys = Some(uri)).await
}

fn entry(token: &str) -> Value {
    json!({"token": token, "type": "portcullis_token", "url": "https://example.com/blob/a.txt", "source": "content"})
}

fn sha256(token: &str) -> String {
    digest(&SHA256, token.as_bytes())
        .as_ref()
        .iter()
        .fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
}

async fn notices(tenant: &Tenant<'_>) -> Vec<Value> {
    let answer = tenant.call("GET", "/leaked-tokens", None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["items"].as_array().unwrap().clone()
}

async fn revocations(server: &TestControl) -> usize {
    server.control.fleet.snapshot().await.unwrap().revocations.len()
}

#[tokio::test]
async fn leaked_tokens_are_revoked_and_the_owner_notified() {
    let dir = TempDir::new();
    let reporter = Reporter::start().await;
    let server = start(&dir, &reporter).await;
    let (tenant, other) = (server.workspace().await, server.workspace().await);
    let app = tenant.app().await;
    let (leaked, kept) = (app.token().await, app.token().await);
    let body = json!([
        entry(&leaked),
        entry(&other.api_token),
        entry("ghp_somebody_elses"),
        entry("")
    ]);
    let answer = reporter.report(&server, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = String::from_utf8(answer.body.clone()).unwrap();
    assert!(
        !text.contains(&leaked) && !text.contains("ghp_") && !text.contains(&other.api_token),
        "{text}"
    );
    let labels: Vec<_> = answer
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|verdict| verdict["label"].clone())
        .collect();
    assert_eq!(
        labels,
        [
            "true_positive",
            "true_positive",
            "false_positive",
            "false_positive"
        ]
    );
    assert_eq!(answer.json()[0]["token_hash"], sha256(&leaked));
    assert_eq!(answer.json()[0]["token_type"], "portcullis_token");

    let snapshot = server.control.fleet.snapshot().await.unwrap();
    assert_eq!(snapshot.revocations.len(), 1);
    assert_eq!(json!(snapshot.revocations[0].token_id), claims_of(&leaked)["jti"]);
    assert_ne!(claims_of(&kept)["jti"], claims_of(&leaked)["jti"]);
    assert_eq!(
        other.call("GET", "", None).await.status,
        401,
        "the API token is gone"
    );
    let told = notices(&tenant).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["kind"], "access_token");
    assert_eq!(
        (&told[0]["owner_id"], &told[0]["token_id"]),
        (&json!(app.id()), &claims_of(&leaked)["jti"])
    );
    assert_eq!(
        (&told[0]["url"], &told[0]["source"]),
        (&json!("https://example.com/blob/a.txt"), &json!("content"))
    );
}

#[tokio::test]
async fn repeated_leak_report_is_idempotent() {
    let dir = TempDir::new();
    let reporter = Reporter::start().await;
    let server = start(&dir, &reporter).await;
    let (tenant, other) = (server.workspace().await, server.workspace().await);
    let leaked = tenant.app().await.token().await;
    let body = json!([entry(&leaked), entry(&other.api_token)]);
    let answer = reporter.report(&server, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = notices(&tenant).await;
    // Not even after the notice was dismissed.
    let version = server.control.fleet.snapshot().await.unwrap().version;
    assert_eq!(reporter.report(&server, &body).await.body, answer.body);
    assert_eq!(server.control.fleet.snapshot().await.unwrap().version, version);
    let path = format!("/leaked-tokens/{}", told[0]["id"].as_str().unwrap());
    assert_eq!(tenant.call("DELETE", &path, None).await.status, 204);
    assert_eq!(reporter.report(&server, &body).await.body, answer.body);
    assert!(notices(&tenant).await.is_empty());
    assert_eq!(
        tenant
            .call("DELETE", "/leaked-tokens/leak_nobodys", None)
            .await
            .status,
        404
    );
    assert_eq!(
        reporter.fetches.load(Ordering::SeqCst),
        1,
        "one fetch of the keys for all of it"
    );
}

#[tokio::test]
async fn leak_report_with_a_bad_signature_is_rejected() {
    let dir = TempDir::new();
    let reporter = Reporter::start().await;
    let server = start(&dir, &reporter).await;
    let tenant = server.workspace().await;
    let token = tenant.app().await.token().await;
    let body = json!([entry(&token)]).to_string();
    let signature = reporter.sign(body.as_bytes());
    let usual = send(&server, KEY_ID, "AAAA", &body).await;
    assert_eq!(
        (usual.status, usual.problem().as_str()),
        (403, "report-unverified")
    );
    for (key_id, signature, body) in [
        ("unknown", signature.as_str(), body.as_str()),
        ("another unknown one", &signature, &body),
        (KEY_ID, &signature, &body.replace("content", "Content")),
        (KEY_ID, &signature, &format!("{body} ")),
        (KEY_ID, "", &body),
        (KEY_ID, &"A".repeat(2_000), &body),
        (&"x".repeat(2_000), &signature, &body),
    ] {
        let answer = send(&server, key_id, signature, body).await;
        assert_eq!(
            (answer.status, &answer.body),
            (usual.status, &usual.body),
            "{key_id}"
        );
    }
    let bare = server
        .send("POST", "/leaked-tokens/github", &[], body.as_bytes())
        .await;
    assert_eq!((bare.status, &bare.body), (usual.status, &usual.body));
    assert_eq!((revocations(&server).await, notices(&tenant).await.len()), (0, 0));
    assert_eq!(
        reporter.fetches.load(Ordering::SeqCst),
        1,
        "unknown ids ask for one fetch a minute at most"
    );
    for body in ["", "[", "{}", "[1]", r#"[{"type":"x"}]"#] {
        let answer = send(&server, KEY_ID, &reporter.sign(body.as_bytes()), body).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "malformed-json"),
            "{body}"
        );
    }
}

#[tokio::test]
async fn slow_leak_reports_do_not_block_others() {
    let dir = TempDir::new();
    let reporter = Reporter::start().await;
    let server = start(&dir, &reporter).await;
    let tenant = server.workspace().await;
    let token = tenant.app().await.token().await;
    let headers = [
        ("Content-Type", "application/json"),
        ("Github-Public-Key-Identifier", KEY_ID),
        ("Github-Public-Key-Signature", "AAAA"),
    ];
    let mut slow = Vec::new();
    for length in [1_000, 1_000, 1_000, 1_000, 200_000] {
        let body = "x".repeat(length);
        let begun = HalfSent::begin(server.address, "POST", "/leaked-tokens/github", &headers, &body);
        slow.push(begun.await);
    }
    let answer = reporter.report(&server, &json!([entry(&token)])).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // Nobody has two of the places for large ones.
    let large = send(&server, KEY_ID, "AAAA", &"x".repeat(200_000)).await;
    assert_eq!((large.status, large.problem().as_str()), (503, "busy"));
    for begun in slow {
        let late = begun.finish().await;
        assert!([403, 408].contains(&late.status), "{late:?}");
    }
}

#[tokio::test]
async fn unsigned_leak_reports_are_rate_limited() {
    let dir = TempDir::new();
    let reporter = Reporter::start().await;
    let uri = reporter.keys_url.parse().unwrap();
    let server = TestControl::start_with(&dir, |settings| {
        settings.leaked_tokens.github_keys = Some(uri);
        settings.limits.api_address.burst = 16;
        settings.limits.api_address.per_second = 1;
    })
    .await;
    for _ in 0..16 {
        assert_eq!(send(&server, KEY_ID, "AAAA", "[]").await.status, 403);
    }
    let refused = send(&server, KEY_ID, "AAAA", "[]").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    let large = send(&server, KEY_ID, "AAAA", &"x".repeat(200_000)).await;
    assert_eq!(large.status, 429);
    assert_eq!(reporter.report(&server, &json!([])).await.status, 200);
}

#[tokio::test]
async fn leak_report_endpoint_is_404_unless_configured() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let answer = send(&server, KEY_ID, "AAAA", "[]").await;
    assert_eq!((answer.status, answer.problem().as_str()), (404, "not-found"));
}

#[tokio::test]
async fn leak_report_is_503_if_github_keys_are_unavailable() {
    let dir = TempDir::new();
    let server = TestControl::start_with(&dir, |settings| {
        settings.leaked_tokens.github_keys = Some("http://127.0.0.1:1/keys".parse().unwrap());
    })
    .await;
    assert_eq!(send(&server, KEY_ID, "AAAA", "[]").await.status, 503);
}

#[tokio::test]
async fn leak_report_is_limited_to_10000_entries() {
    let dir = TempDir::new();
    let reporter = Reporter::start().await;
    let server = start(&dir, &reporter).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let mut entries: Vec<Value> = (0..9_700).map(|n| entry(&format!("unknown-{n}"))).collect();
    for _ in 0..300 {
        // Each the same as one before: a report may name a token as often as it was found.
        entries.push(entry("pcl_0123456789012345678901234567890123456789"));
    }
    let leaked = app.token().await;
    entries[5_000] = entry(&leaked);
    entries[9_999] = entry(&leaked);
    let answer = reporter.report(&server, &json!(entries)).await;
    assert_eq!(answer.status, 200);
    let verdicts = answer.json();
    assert_eq!(verdicts.as_array().unwrap().len(), 10_000);
    let ours = verdicts
        .as_array()
        .unwrap()
        .iter()
        .filter(|verdict| verdict["label"] == "true_positive")
        .count();
    assert_eq!(
        (ours, revocations(&server).await, notices(&tenant).await.len()),
        (2, 1, 1)
    );
    entries.push(entry("one more"));
    let refused = reporter.report(&server, &json!(entries)).await;
    assert_eq!(
        (refused.status, refused.problem().as_str()),
        (413, "body-too-large")
    );
}

#[tokio::test]
async fn leak_notices_are_visible_to_workspace_owners_only() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (tenant, other) = (server.workspace().await, server.workspace().await);
    let answer = tenant
        .call_as(&other.api_token, "GET", "/leaked-tokens", None)
        .await;
    assert_eq!(answer.status, 404);
    assert_eq!(
        tenant
            .call_as("pcl_nobodys", "GET", "/leaked-tokens", None)
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn dismissed_leak_notices_expire_with_the_audit_trail() {
    let dir = TempDir::new();
    let reporter = Reporter::start().await;
    let server = start(&dir, &reporter).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let body = json!([entry(&app.token().await), entry(&app.token().await)]);
    assert_eq!(reporter.report(&server, &body).await.status, 200);
    let told = notices(&tenant).await;
    let path = format!("/leaked-tokens/{}", told[0]["id"].as_str().unwrap());
    assert_eq!(tenant.call("DELETE", &path, None).await.status, 204);
    let mut sql = dir.sql().await;
    let mut held = async || -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM leaked_tokens");
        count.fetch_one(&mut sql).await.unwrap()
    };
    server.clock.set(UnixSeconds(NOW + 89 * 86_400));
    // What is older than the trail's age has been looked for at this moment, and left.
    server.control.purge().await;
    assert_eq!(held().await, 2);
    server.clock.set(UnixSeconds(NOW + 91 * 86_400));
    server.control.purge().await;
    assert_eq!(held().await, 1);
    assert_eq!(notices(&tenant).await, [told[1].clone()]);
}
