//! Encryption of signing keys in the store.

use crate::support::{OPERATOR, TempDir, TestControl, open_with};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis::config::Signing;
use portcullis::control::Control;
use portcullis::domain::key::Algorithm;
use portcullis::domain::sealing::EncryptionKey;

pub fn encryption_key() -> String {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).unwrap();
    STANDARD.encode(bytes)
}

pub fn sealed_with(current: Option<&str>, previous: Option<&str>) -> Signing {
    let key = |text: &str| EncryptionKey::parse(text).unwrap();
    Signing {
        key_encryption_key: current.map(key),
        previous_key_encryption_key: previous.map(key),
        algorithm: Algorithm::Es256,
        ..Signing::default()
    }
}

/// The base64 of the private key that signs now, in one line, as the store would hold it.
fn private_key(server: &Control) -> String {
    let pem = server.issuer_keys.signing_key_pkcs8_pem();
    pem.lines().filter(|line| !line.starts_with("-----")).collect()
}

/// Opens the store with these settings, and answers the private key, or the sentence of the refusal.
async fn opened(dir: &TempDir, signing: Signing) -> Result<String, String> {
    let control = open_with(dir.store(), |settings| settings.signing = signing).await;
    let control = control.map_err(|error| error.to_string())?;
    let key = private_key(&control);
    let encrypted = control
        .signing_keys
        .list(&OPERATOR)
        .await
        .unwrap()
        .iter()
        .all(|key| key.encrypted);
    control.close().await;
    let mut sql = dir.sql().await;
    let held: Vec<(String,)> = sqlx::query_as("SELECT secret FROM signing_keys")
        .fetch_all(&mut sql)
        .await
        .unwrap();
    let is_in_clear = held.iter().any(|(secret,)| secret.contains(&key));
    assert_eq!(is_in_clear, !encrypted, "the status agrees with the store");
    Ok(key)
}

#[tokio::test]
async fn signing_keys_are_encrypted_with_the_configured_key() {
    let dir = TempDir::new();
    let (one, other) = (encryption_key(), encryption_key());
    let id = |text: &str| EncryptionKey::parse(text).unwrap().id().to_owned();
    let key = opened(&dir, sealed_with(Some(&one), None)).await.unwrap();
    assert_eq!(opened(&dir, sealed_with(Some(&one), None)).await.unwrap(), key);

    let refused = opened(&dir, sealed_with(None, None)).await.unwrap_err();
    assert!(
        refused.contains(&id(&one)) && refused.contains("set control_plane.signing.key_encryption_key"),
        "{refused}"
    );
    let refused = opened(&dir, sealed_with(Some(&other), None)).await.unwrap_err();
    assert!(
        refused.contains(&id(&one)) && refused.contains(&id(&other)),
        "{refused}"
    );
    assert!(refused.contains("previous_key_encryption_key"), "{refused}");
    for refused in [&refused, &format!("{:?}", sealed_with(Some(&one), Some(&other)))] {
        assert!(!refused.contains(&one) && !refused.contains(&other), "{refused}");
    }

    // Replaced: both given once, then the new one alone.
    assert_eq!(
        opened(&dir, sealed_with(Some(&other), Some(&one))).await.unwrap(),
        key
    );
    assert_eq!(opened(&dir, sealed_with(Some(&other), None)).await.unwrap(), key);
    assert!(opened(&dir, sealed_with(Some(&one), None)).await.is_err());
}

#[tokio::test]
async fn plain_text_keys_are_encrypted_once_a_key_is_configured() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    server.control.signing_keys.rotate(&OPERATOR).await.unwrap();
    let key = private_key(&server.control);
    server.stop().await;
    let encryption = encryption_key();
    let control = open_with(dir.store(), |settings| {
        settings.signing = sealed_with(Some(&encryption), None);
    })
    .await
    .unwrap();
    assert_eq!(private_key(&control), key);
    let keys = control.signing_keys.list(&OPERATOR).await.unwrap();
    assert!(
        keys.len() == 2 && keys.iter().all(|key| key.encrypted),
        "{keys:?}"
    );
    control.close().await;
    assert!(opened(&dir, sealed_with(None, None)).await.is_err());
}

#[tokio::test]
async fn encrypted_key_does_not_decrypt_in_another_row() {
    let dir = TempDir::new();
    let encryption = encryption_key();
    let sealed = || sealed_with(Some(&encryption), None);
    let control = open_with(dir.store(), |settings| settings.signing = sealed())
        .await
        .unwrap();
    control.signing_keys.rotate(&OPERATOR).await.unwrap();
    control.close().await;
    let mut sql = dir.sql().await;
    sqlx::query("UPDATE signing_keys SET secret = (SELECT MAX(other.secret) FROM signing_keys other)")
        .execute(&mut sql)
        .await
        .unwrap();
    let refused = open_with(dir.store(), |settings| settings.signing = sealed())
        .await
        .err()
        .unwrap();
    assert!(refused.to_string().contains("signing_keys"), "{refused}");
}
