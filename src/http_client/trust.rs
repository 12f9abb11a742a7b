//! Which certificate authorities the HTTP client trusts.

use std::sync::{Arc, LazyLock};

use rustls::{ClientConfig, RootCertStore};

/// Logged where the system has no certificate authorities.
const NO_AUTHORITIES: &str =
    "no certificate authorities found, so https fails; install ca-certificates or set SSL_CERT_FILE";

/// The certificate authorities that servers must have their certificates from.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those of the system; `SSL_CERT_FILE` and `SSL_CERT_DIR` take their place.
    System,
    /// These alone.
    Authorities(Arc<RootCertStore>),
}

impl Trust {
    /// The TLS settings of a client with this trust and no certificate of its own.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        // The first provider stays: where the process has chosen already, this says the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let roots = match self {
            Self::System => Arc::clone(&SYSTEM),
            Self::Authorities(roots) => Arc::clone(roots),
        };
        ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

/// Read once: it is 150 certificates.
static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    match rustls_native_certs::load_native_certs() {
        Ok(certificates) => {
            // Systems carry a few that are too old to be read.
            let _ = roots.add_parsable_certificates(certificates);
        }
        Err(error) => tracing::warn!(%error, "{NO_AUTHORITIES}"),
    }
    if roots.is_empty() {
        tracing::warn!("{NO_AUTHORITIES}");
    }
    Arc::new(roots)
});
