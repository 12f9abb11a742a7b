//! TLS of the listeners: certificates by server name, and optional client certificates.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use pingora_core::listeners::tls::TlsSettings;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use thiserror::Error;

use crate::config::ListenerTls;

/// Why a listener's TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("{file} is not a PEM file with {what}: {error}")]
    Pem {
        file: String,
        what: &'static str,
        error: String,
    },
    #[error("the key {key} does not belong to the certificate {cert}: {error}")]
    Pair {
        cert: String,
        key: String,
        error: String,
    },
    #[error("the client CA file {file} cannot be used: {error}")]
    ClientCa { file: String, error: String },
}

/// Pingora's settings for a TLS listener: our certificates, HTTP/2 and HTTP/1.1 by ALPN.
///
/// # Errors
/// [`TlsError`] names the file that cannot be used.
pub fn settings(config: &ListenerTls) -> Result<TlsSettings, TlsError> {
    let mut certificates = Vec::new();
    for (cert, key) in &config.certificates {
        certificates.push(Arc::new(certified_key(cert, key)?));
    }
    let failed = |error: pingora_error::BError| TlsError::ClientCa {
        file: String::new(),
        error: error.to_string(),
    };
    let mut settings = TlsSettings::intermediate("", "").map_err(failed)?;
    settings.set_cert_resolver(Arc::new(ByServerName { certificates }));
    settings.enable_h2();
    if let Some(file) = &config.client_ca {
        settings.set_client_cert_verifier(client_verifier(file)?);
    }
    Ok(settings)
}

fn certified_key(cert: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let pem = |file: &Path, what, error: &dyn fmt::Display| TlsError::Pem {
        file: file.display().to_string(),
        what,
        error: error.to_string(),
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| pem(cert, "certificates", &error))?;
    if chain.is_empty() {
        return Err(pem(cert, "certificates", &"there is none in it"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| pem(key, "a private key", &error))?;
    CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider()).map_err(|error| TlsError::Pair {
        cert: cert.display().to_string(),
        key: key.display().to_string(),
        error: error.to_string(),
    })
}

fn client_verifier(file: &Path) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let failed = |error: &dyn fmt::Display| TlsError::ClientCa {
        file: file.display().to_string(),
        error: error.to_string(),
    };
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(file).map_err(|error| failed(&error))? {
        roots
            .add(cert.map_err(|error| failed(&error))?)
            .map_err(|error| failed(&error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(aws_lc_rs::default_provider()))
        .build()
        .map_err(|error| failed(&error))
}

/// The certificate whose names fit what the client asks for; the first where none does.
struct ByServerName {
    certificates: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let first = self.certificates.first();
        if self.certificates.len() > 1
            && let Some(name) = hello
                .server_name()
                .and_then(|name| ServerName::try_from(name).ok())
        {
            return self
                .certificates
                .iter()
                .find(|held| is_for(held, &name))
                .or(first)
                .cloned();
        }
        first.cloned()
    }
}

fn is_for(certified: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let end_entity = certified
        .cert
        .first()
        .and_then(|cert| webpki::EndEntityCert::try_from(cert).ok());
    end_entity.is_some_and(|cert| cert.verify_is_valid_for_subject_name(name).is_ok())
}

impl fmt::Debug for ByServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByServerName({} certificates)", self.certificates.len())
    }
}
