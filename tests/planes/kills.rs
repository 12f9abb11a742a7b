//! The process killed at random moments while it writes: nothing that was acknowledged is lost, nothing is half
//! done. `PORTCULLIS_TEST_KILLS` says how often, `PORTCULLIS_TEST_SEED` with which moments.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use sqlx::{AnyConnection, Connection as _};

use super::support::process::Process;
use super::support::process::portcullis;
use super::support::product::{Env, OBSERVABILITY, Serve, quickstart_data};

pub fn number(variable: &str, default: u64) -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long to go on is chosen from outside"
    )]
    let chosen = std::env::var(variable);
    chosen.map_or(default, |text| text.parse().unwrap())
}

/// One request; `None` where the connection ended before the whole answer came.
fn call(address: &str, method: &str, path: &str, env: &Env, body: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let head = format!(
        "{method} /api/v1/workspaces/{}{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        env.get("WORKSPACE_ID"),
        env.get("OWNER_API_TOKEN"),
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?;
    assert!(status.starts_with('2'), "{head} {body}");
    serde_json::from_str(body).ok()
}

/// Makes sources and renames them until told to stop. Notes what was acknowledged: id and name.
fn write(address: &str, env: &Env, stop: &AtomicBool, made: &AtomicU64, kept: &Mutex<Vec<(String, String)>>) {
    while !stop.load(Ordering::Relaxed) {
        let name = format!("s{}", made.fetch_add(1, Ordering::Relaxed));
        let body = format!(r#"{{"name": "{name}", "kind": "python"}}"#);
        let Some(source) = call(address, "POST", "/sources", env, &body) else {
            continue;
        };
        let id = source["id"].as_str().unwrap().to_owned();
        kept.lock().unwrap().push((id, name));
    }
}

/// What the store holds, read without the product.
pub async fn check(url: &str, kept: &[(String, String)]) {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(url).await.unwrap();
    for (id, name) in kept {
        let found: Option<String> = sqlx::query_scalar("SELECT name FROM sources WHERE id = $1")
            .bind(id)
            .fetch_optional(&mut connection)
            .await
            .unwrap();
        assert_eq!(found.as_ref(), Some(name), "an acknowledged change is lost");
    }
    let mut one = async |text: &'static str| -> i64 {
        sqlx::query_scalar(text).fetch_one(&mut connection).await.unwrap()
    };
    let version = one("SELECT version FROM policy_version").await;
    assert_eq!(version, one("SELECT max(version) FROM policy_changes").await);
    assert_eq!(
        version - one("SELECT min(version) FROM policy_changes").await + 1,
        one("SELECT count(*) FROM policy_changes").await,
        "the versions have a gap"
    );
    // Each change is a row of the feed, a row of the trail, and what both speak of.
    let sources = one("SELECT count(*) FROM sources").await;
    let spoken_of = "SELECT count(DISTINCT resource_id) FROM audit_events \
                     WHERE resource_id IN (SELECT id FROM sources)";
    assert_eq!(sources, one(spoken_of).await, "a change is half done");
    let events = one("SELECT count(*) FROM audit_events").await;
    assert_eq!(events, one("SELECT newest_position FROM audit_chain").await);
    if url.starts_with("sqlite:") {
        let faults = "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'";
        assert_eq!(one(faults).await, 0);
    }
    connection.close().await.unwrap();
}

#[test]
fn killed_at_any_moment_the_store_keeps_what_was_acknowledged() {
    let kills = number("PORTCULLIS_TEST_KILLS", 10);
    let seed = number("PORTCULLIS_TEST_SEED", u64::from(std::process::id()));
    println!("{kills} kills, seed {seed}");
    let dir = quickstart_data();
    let env = Env::read(&dir.join("env"));
    let store = dir.join("portcullis.db");
    let config = dir.write(
        "kills.yaml",
        &format!(
            "version: 1\n{OBSERVABILITY}control_plane:\n  listen: \"127.0.0.1:0\"\n  store: \"sqlite:{}\"\n  signing: {{key_encryption_key: \"file:signing-encryption.key\"}}\n",
            store.display()
        ),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (made, kept) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let mut random = seed;
    for _ in 0..kills {
        let serve = Serve::start(&config);
        let address = serve
            .control
            .as_deref()
            .unwrap()
            .strip_prefix("http://")
            .unwrap()
            .to_owned();
        let stop = AtomicBool::new(false);
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let moment = Duration::from_micros(20_000 + (random >> 33) % 600_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| write(&address, &env, &stop, &made, &kept));
            }
            std::thread::sleep(moment);
            // SIGKILL, while the writers write on.
            drop(serve);
            stop.store(true, Ordering::Relaxed);
        });
        let kept = kept.lock().unwrap();
        runtime.block_on(check(&format!("sqlite:{}", store.display()), &kept));
    }
    let kept = kept.lock().unwrap();
    println!(
        "{} changes acknowledged, {} attempted",
        kept.len(),
        made.load(Ordering::Relaxed)
    );
    assert!(!kept.is_empty(), "nothing was written");
}

#[test]
fn backup_is_a_whole_store_and_overwrites_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = quickstart_data();
    let env = Env::read(&dir.join("env"));
    let config = |name: &str, store: &str| {
        let text = format!(
            "version: 1\n{OBSERVABILITY}control_plane:\n  listen: \"127.0.0.1:0\"\n  store: \"sqlite:{store}\"\n  signing: {{key_encryption_key: \"file:signing-encryption.key\"}}\n"
        );
        dir.write(name, &text)
    };
    let used = config("used.yaml", "portcullis.db");
    let serve = Serve::start(&used);
    let copy = dir.join("copy.db");
    let backup = |to: &Path| {
        Process::run(
            portcullis(["admin", "backup", "--config"])
                .arg(&used)
                .arg("--to")
                .arg(to),
        )
    };
    // The server runs and holds the lock all the while.
    let done = backup(&copy);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(
        std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let again = backup(&copy);
    assert!(
        again.code == Some(1) && again.stderr.contains("copy.db"),
        "{}",
        again.stderr
    );
    serve.stop();

    let serve = Serve::start(&config("copy.yaml", "copy.db"));
    let address = serve.control.as_deref().unwrap().strip_prefix("http://").unwrap();
    let listed = call(address, "GET", "/sources", &env, "").unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 5);
    serve.stop();
}
