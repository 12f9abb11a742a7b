//! Opening a store: restarts, locks, unusable files, other schemas.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use portcullis::domain::key::Algorithm;
use portcullis::domain::time::UnixSeconds;
use portcullis::store_location::StoreLocation;
use sqlx::Connection as _;

use crate::support::{DEADLINE, NOW, OPERATOR, TempDir, TestControl, claims_of, header_of, open};

async fn sentence(store: StoreLocation) -> String {
    open(store).await.err().expect("an error").to_string()
}

fn file(path: &Path) -> StoreLocation {
    StoreLocation::Sqlite(path.to_owned())
}

#[tokio::test]
async fn restart_keeps_keys_and_data() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let source = tenant.source("nodejs").await;
    let before = app.token().await;
    let snapshot = server.control.fleet.snapshot().await.unwrap();
    let (claims, header) = (app.claims(), app.header());
    let (key, api_token, workspace) = (app.key.clone(), tenant.api_token.clone(), tenant.id.clone());
    server.stop().await;

    let server = TestControl::start(&dir).await;
    let after = server.control.fleet.snapshot().await.unwrap();
    assert_eq!(after.version, snapshot.version, "a restart is no change");
    assert_eq!(
        serde_json::to_value(&after).unwrap(),
        serde_json::to_value(&snapshot).unwrap()
    );
    let kept = server
        .control
        .sources
        .get(&OPERATOR, &workspace, &source.id)
        .await
        .unwrap();
    assert_eq!(kept.write_key.expose(), source.write_key.expose());
    assert_eq!(
        server
            .control
            .api_tokens
            .authenticate(&api_token)
            .await
            .unwrap()
            .workspace,
        workspace
    );
    let mut claims = claims;
    claims["jti"] = serde_json::json!("after the restart");
    let answer = server.ask(&key.sign(&header, &claims), "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(header_of(&token)["kid"], header_of(&before)["kid"]);
    assert_ne!(claims_of(&token)["jti"], claims_of(&before)["jti"]);
}

#[tokio::test]
async fn new_algorithm_adds_a_key_and_publishes_the_old() {
    let dir = TempDir::new();
    let server = TestControl::start_signing(&dir, Algorithm::Es256).await;
    let first = server.control.fleet.snapshot().await.unwrap();
    server.stop().await;
    let server = TestControl::start_signing(&dir, Algorithm::EdDsa).await;
    let second = server.control.fleet.snapshot().await.unwrap();
    assert_eq!(second.version, first.version + 1);
    let algorithms: Vec<_> = second
        .issuer
        .unwrap()
        .keys
        .iter()
        .map(|key| key.alg.clone().unwrap_or_default())
        .collect();
    assert_eq!(algorithms, ["ES256", "EdDSA"]);
    // Not before everybody has read the key set again.
    let tenant = server.workspace().await;
    let token = tenant.app().await.token().await;
    assert_eq!(header_of(&token)["alg"], "ES256");
    server.stop().await;
    let server = TestControl::start_signing(&dir, Algorithm::EdDsa).await;
    let third = server.control.fleet.snapshot().await.unwrap();
    assert_eq!(third.issuer.unwrap().keys.len(), 2, "and it is made once");
}

#[tokio::test]
async fn expired_rows_are_purged() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let token = app.token().await;
    server
        .control
        .revocation
        .revoke_token(&OPERATOR, &tenant.id, &app.details.app.id, &token)
        .await
        .unwrap();
    let mut connection = dir.sql().await;
    let mut rows = async || {
        let count = "SELECT (SELECT count(*) FROM used_assertions) + (SELECT count(*) FROM revocations)";
        sqlx::query_scalar::<_, i64>(count)
            .fetch_one(&mut connection)
            .await
            .unwrap()
    };
    assert_eq!(rows().await, 2);
    // Their ends, and the day that rows outlive them by.
    server.clock.set(UnixSeconds(NOW + 86_400 * 4));
    let gone = async {
        while rows().await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.unwrap();
}

#[tokio::test]
async fn store_in_use_is_reported() {
    let dir = TempDir::new();
    let path = dir.path().join("store.db");
    let held = open(file(&path)).await.unwrap();
    let said = sentence(file(&path)).await;
    assert!(
        said.contains("in use by another portcullis process") && said.contains("store.db"),
        "{said}"
    );
    held.close().await;
    drop(held);
    open(file(&path)).await.map(drop).unwrap();
}

#[tokio::test]
async fn store_files_are_private() {
    let dir = TempDir::new();
    let path = dir.path().join("a/b/store.db");
    let held = open(file(&path)).await.unwrap();
    for name in ["store.db", "store.db-wal", "store.db-shm", "store.db.lock"] {
        let mode = std::fs::metadata(path.with_file_name(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(
        held.issuer_keys
            .signing_key_pkcs8_pem()
            .starts_with("-----BEGIN PRIVATE KEY-----\n")
    );
}

#[tokio::test]
async fn unwritable_path_is_reported() {
    let dir = TempDir::new();
    std::fs::write(dir.path().join("file"), "").unwrap();
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    // Root may write everywhere but here; the others fail for anybody.
    for path in [
        Path::new("/proc/portcullis/store.db"),
        &dir.path().join("file/store.db"),
        &dir.path().join("folder"),
    ] {
        let said = sentence(file(path)).await;
        assert!(
            said.contains("cannot write to the store") && said.contains(&path.display().to_string()),
            "{said}"
        );
    }
}

#[tokio::test]
async fn foreign_file_is_reported() {
    let dir = TempDir::new();
    let path = dir.path().join("notes.txt");
    std::fs::write(
        &path,
        "these are my notes, and they are longer than a header\n".repeat(50),
    )
    .unwrap();
    let said = sentence(file(&path)).await;
    assert!(said.contains("is not a portcullis store"), "{said}");
}

#[tokio::test]
async fn newer_schema_is_rejected() {
    let dir = TempDir::new();
    open(dir.store()).await.unwrap().close().await;
    let mut connection = dir.sql().await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         SELECT 9999, 'from the future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let said = sentence(dir.store()).await;
    assert!(
        said.contains("newer portcullis") && said.contains("9999"),
        "{said}"
    );
}

#[tokio::test]
async fn invalid_public_url_is_rejected() {
    let dir = TempDir::new();
    for url in [
        "",
        "control.test",
        "https://control.test/",
        "https://",
        "https://a b",
        "https://a?b",
        "ftp://a",
    ] {
        let mut settings = crate::support::settings(dir.store());
        settings.public_url = url.to_owned();
        let clock = portcullis::clock::Clock::default();
        let said = portcullis::control::Control::open(settings, clock)
            .await
            .err()
            .expect("an error")
            .to_string();
        assert!(said.contains("cannot be an issuer"), "{said}");
    }
}
