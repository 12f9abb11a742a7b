//! A certificate authority of the test's own, and the files and TLS sides made with it.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::path::PathBuf;
use std::sync::{Arc, Once};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::scratch::Scratch;

/// As the first statement of `main` does.
pub fn use_one_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

/// A certificate authority, with a temporary folder for its files.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: Scratch,
}

/// A certificate and its key, as files and in memory.
pub struct Issued {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub chain: Vec<CertificateDer<'static>>,
    private: Vec<u8>,
}

impl Issued {
    fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.private.clone()).unwrap()
    }

    /// A TLS server with this certificate.
    pub fn acceptor(&self) -> TlsAcceptor {
        use_one_provider();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.private())
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self {
            issuer,
            folder: Scratch::new(),
        }
    }

    /// A PEM file with the authority's own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.write("ca.pem", &self.issuer.pem())
    }

    /// A certificate for a name.
    pub fn issue(&self, name: &str) -> Issued {
        self.issue_that(name, |_| {})
    }

    /// A certificate that expired long ago.
    pub fn issue_expired(&self, name: &str) -> Issued {
        self.issue_that(name, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        })
    }

    fn issue_that(&self, name: &str, differ: impl FnOnce(&mut CertificateParams)) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        differ(&mut params);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            cert: self.folder.write(&format!("{name}.pem"), &cert.pem()),
            key: self.folder.write(&format!("{name}.key"), &key.serialize_pem()),
            chain: vec![cert.der().clone()],
            private: key.serialize_der(),
        }
    }

    /// A TLS client that trusts this authority and offers these protocols.
    pub fn client(&self, alpn: &[&str], own: Option<&Issued>) -> ClientConfig {
        self.client_that(rustls::DEFAULT_VERSIONS, alpn, own)
    }

    /// A TLS client of one version.
    pub fn client_of(&self, version: &'static SupportedProtocolVersion) -> ClientConfig {
        self.client_that(&[version], &[], None)
    }

    /// The same with a certificate of its own.
    pub fn client_with(&self, version: &'static SupportedProtocolVersion, own: &Issued) -> ClientConfig {
        self.client_that(&[version], &[], Some(own))
    }

    fn client_that(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
        own: Option<&Issued>,
    ) -> ClientConfig {
        use_one_provider();
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots);
        let mut config = match own {
            Some(own) => builder
                .with_client_auth_cert(own.chain.clone(), own.private())
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}
