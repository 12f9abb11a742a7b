//! TLS to the database: its certificate is verified against the CA and the host in the URL.

use portcullis::store::{Store, StoreError};
use portcullis::store_location::StoreLocation;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::postgres::Cluster;
use crate::secrets;
use crate::support::{TempDir, on_postgres};

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Addresses of this machine that no other test listens on: the port is that of every PostgreSQL.
fn addresses() -> [String; 2] {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    [1, 2].map(|last| {
        format!(
            "127.{}.{middle}.{}",
            100 + high % 50,
            u16::from(low) / 2 * 2 % 254 + last
        )
    })
}

#[tokio::test]
async fn database_certificate_is_verified_with_sslrootcert() {
    if !on_postgres() {
        return;
    }
    let (ours, other) = (authority(), authority());
    let [named, unnamed] = addresses();
    let key = KeyPair::generate().unwrap();
    secrets::note_private_key(&key.serialize_pem());
    let params = CertificateParams::new(vec![named.clone()]).unwrap();
    let certificate = params.signed_by(&key, &ours).unwrap();
    let cluster = Cluster::with_tls(&[&named, &unnamed], &certificate.pem(), &key.serialize_pem());
    let path = cluster.database_url();
    let database = path.rsplit('/').next().unwrap();
    let dir = TempDir::new();
    let open = async |host: &str, ca: &CertifiedIssuer<'static, KeyPair>| {
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, ca.pem()).unwrap();
        let url = format!(
            "postgres://portcullis@{host}/{database}?sslmode=verify-full&sslrootcert={}",
            file.display()
        );
        Store::open(&StoreLocation::parse(&url, dir.path()).unwrap()).await
    };
    let store = open(&named, &ours).await.unwrap();
    store.read().await.unwrap();
    store.close().await;
    for refused in [open(&named, &other).await, open(&unnamed, &ours).await] {
        let error = refused.err().unwrap();
        assert!(matches!(error, StoreError::NotReached { .. }), "{error}");
        assert!(
            error
                .to_string()
                .contains("add ?sslrootcert=FILE to the URL for a private CA"),
            "{error}"
        );
    }
    // The server takes nobody without TLS, so the first one had it.
    let plain = format!("postgres://portcullis@{named}/{database}?sslmode=disable");
    let refused = Store::open(&StoreLocation::parse(&plain, dir.path()).unwrap()).await;
    assert!(refused.is_err());
}
