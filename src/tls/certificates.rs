//! Certificate chains and their keys, read from files: matched with each other, named, dated.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::aws_lc_rs::digest::{Context, SHA256};
use rustls::crypto::aws_lc_rs;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::ListenerTls;
use crate::domain::time::UnixSeconds;
use crate::pem_file;

/// The largest file read, in bytes. A chain with its intermediates takes a few thousand.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a listener's TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("{file} cannot be read: {error}")]
    File { file: String, error: std::io::Error },
    #[error("{file} is not a PEM file with {what}: {problem}")]
    Pem {
        file: String,
        what: &'static str,
        problem: &'static str,
    },
    #[error("the key {key} does not belong to the certificate {cert}: {problem}")]
    Pair {
        cert: String,
        key: String,
        problem: &'static str,
    },
    #[error("the certificate {cert} {problem}")]
    Certificate { cert: String, problem: String },
    #[error("the client CA file {file} cannot be used: {problem}")]
    ClientCa { file: String, problem: &'static str },
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

/// The files of a listener's TLS, as they were read at one moment.
pub(crate) struct Files {
    /// Chain and key of each certificate.
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    client_ca: Option<Vec<u8>>,
}

/// A certificate in a few words, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub file: PathBuf,
    /// The DNS names it is for, lower case; a wildcard as it stands there.
    pub names: Vec<String>,
    pub valid_from: UnixSeconds,
    pub expires_at: UnixSeconds,
}

/// Certificates by the names they are for.
pub(crate) struct ByServerName {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By the part below the wildcard.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    /// Shown to clients that ask for none of the names.
    first: Arc<CertifiedKey>,
}

impl Files {
    /// Reads all files.
    pub(crate) fn read(config: &ListenerTls) -> Result<Self, TlsError> {
        let mut pairs = Vec::new();
        for (cert, key) in &config.certificates {
            pairs.push((read(cert)?, read(key)?));
        }
        Ok(Self {
            pairs,
            client_ca: config.client_ca.as_deref().map(read).transpose()?,
        })
    }

    /// Tells one state of the files from another, without keeping the keys.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut digest = Context::new(&SHA256);
        for part in self.pairs.iter().flat_map(|(cert, key)| [cert, key]) {
            digest.update(&(part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        digest.update(self.client_ca.as_deref().unwrap_or_default());
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest.finish().as_ref());
        fingerprint
    }

    /// The certificates, each with a key that belongs to it.
    pub(crate) fn certificates(
        &self,
        config: &ListenerTls,
    ) -> Result<(ByServerName, Vec<Summary>), TlsError> {
        let mut held = Vec::new();
        let mut summaries = Vec::new();
        for ((cert, key), (cert_file, key_file)) in self.pairs.iter().zip(&config.certificates) {
            let certified = Arc::new(certified_key((cert_file, cert), (key_file, key))?);
            let summary = summary(cert_file, &certified)?;
            held.push((certified, summary.names.clone()));
            summaries.push(summary);
        }
        Ok((ByServerName::new(held)?, summaries))
    }

    /// What checks the certificates of clients, where they must show one.
    pub(crate) fn client_verifier(
        &self,
        config: &ListenerTls,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let (Some(file), Some(pem)) = (&config.client_ca, &self.client_ca) else {
            return Ok(None);
        };
        let failed = |problem| TlsError::ClientCa {
            file: file.display().to_string(),
            problem,
        };
        let roots = pem_file::authorities(pem).map_err(failed)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map(Some)
            .map_err(|_| failed("no authority in it can verify clients"))
    }
}

/// A file of a listener's TLS; certificates by their number in the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificatePart {
    Cert(usize),
    Key(usize),
    ClientCa,
}

/// What the files of a listener's TLS hold.
#[derive(Debug, Default)]
pub struct Inspection {
    /// Each certificate that can be used, with its number in the config.
    pub certificates: Vec<(usize, Summary)>,
    /// Each file that cannot be used.
    pub faults: Vec<(CertificatePart, TlsError)>,
}

/// Reads and checks the files of a listener's TLS without using them: each certificate that can be used, whether valid
/// now or not, and each file that cannot be used.
#[must_use]
pub fn inspect(config: &ListenerTls) -> Inspection {
    let mut found = Inspection::default();
    for (at, (cert, key)) in config.certificates.iter().enumerate() {
        let read_key = read(key).map_err(|error| (CertificatePart::Key(at), error));
        let summary = read(cert)
            .map_err(|error| (CertificatePart::Cert(at), error))
            .and_then(|pem| Ok((pem, read_key?)))
            .and_then(|(cert_pem, key_pem)| {
                let pair = certified_key((cert, &cert_pem), (key, &key_pem));
                let certified = pair.map_err(|error| match &error {
                    TlsError::Pem { file, .. } if *file == cert.display().to_string() => {
                        (CertificatePart::Cert(at), error)
                    }
                    _ => (CertificatePart::Key(at), error),
                })?;
                summary(cert, &certified).map_err(|error| (CertificatePart::Cert(at), error))
            });
        match summary {
            Ok(summary) => found.certificates.push((at, summary)),
            Err(fault) => found.faults.push(fault),
        }
    }
    if let Some(file) = &config.client_ca {
        let files = read(file).map(|pem| Files {
            pairs: Vec::new(),
            client_ca: Some(pem),
        });
        if let Err(error) = files.and_then(|files| files.client_verifier(config).map(drop)) {
            found.faults.push((CertificatePart::ClientCa, error));
        }
    }
    found
}

impl Summary {
    /// Whether the certificate is valid `now`.
    ///
    /// # Errors
    /// [`TlsError::Certificate`] says since when or until when it is not.
    pub fn is_valid(&self, now: UnixSeconds) -> Result<(), TlsError> {
        let problem = if self.expires_at <= now {
            format!("expired {} ago", span(now.since(self.expires_at)))
        } else if now < self.valid_from {
            format!(
                "is not valid before {} from now",
                span(self.valid_from.since(now))
            )
        } else {
            return Ok(());
        };
        Err(TlsError::Certificate {
            cert: self.file.display().to_string(),
            problem,
        })
    }
}

/// A time in words: days, where it is one or more.
fn span(seconds: u64) -> String {
    match seconds {
        0..3_600 => format!("{seconds} s"),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error| TlsError::File {
        file: path.display().to_string(),
        error,
    };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > FILE_BYTES_MAX {
        return Err(failed(std::io::Error::other("it is larger than 1 MiB")));
    }
    std::fs::read(path).map_err(failed)
}

fn certified_key(cert: (&Path, &[u8]), key: (&Path, &[u8])) -> Result<CertifiedKey, TlsError> {
    let pem = |file: &Path, what, problem| TlsError::Pem {
        file: file.display().to_string(),
        what,
        problem,
    };
    let chain = pem_file::certificates(cert.1).map_err(|problem| pem(cert.0, "certificates", problem))?;
    let private = pem_file::private_key(key.1).map_err(|problem| pem(key.0, "a private key", problem))?;
    CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider()).map_err(|error| TlsError::Pair {
        cert: cert.0.display().to_string(),
        key: key.0.display().to_string(),
        problem: match error {
            rustls::Error::InconsistentKeys(_) => "their public keys differ",
            rustls::Error::InvalidCertificate(_) => "the certificate is damaged",
            _ => "the key is damaged, or of a kind other than RSA, ECDSA and Ed25519",
        },
    })
}

fn summary(file: &Path, certified: &CertifiedKey) -> Result<Summary, TlsError> {
    let failed = |problem: &dyn fmt::Display| TlsError::Certificate {
        cert: file.display().to_string(),
        problem: format!("cannot be read: {problem}"),
    };
    let der = certified.end_entity_cert()?;
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| failed(&error))?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|error| failed(&error))?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    let moment = |seconds: i64| UnixSeconds(u64::try_from(seconds).unwrap_or(0));
    Ok(Summary {
        file: file.to_owned(),
        names: names.collect(),
        valid_from: moment(parsed.validity().not_before.timestamp()),
        expires_at: moment(parsed.validity().not_after.timestamp()),
    })
}

impl ByServerName {
    /// Of several certificates for one name, the first in the list.
    fn new(held: Vec<(Arc<CertifiedKey>, Vec<String>)>) -> Result<Self, TlsError> {
        let first = held.first().map(|(certified, _)| Arc::clone(certified));
        let mut by_name = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            first: first.ok_or_else(|| rustls::Error::General("no certificate is named".to_owned()))?,
        };
        for (certified, names) in held {
            for name in names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(below) => (&mut by_name.wildcard, below.to_owned()),
                    None => (&mut by_name.exact, name),
                };
                map.entry(name).or_insert_with(|| Arc::clone(&certified));
            }
        }
        Ok(by_name)
    }

    /// The certificate for a name: exact before wildcard, and a wildcard stands for one label.
    fn of(&self, name: &str) -> &Arc<CertifiedKey> {
        let lower;
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = name.to_ascii_lowercase();
            &lower
        } else {
            name
        };
        let below = name.split_once('.').map(|(_, below)| below);
        self.exact
            .get(name)
            .or_else(|| self.wildcard.get(below?))
            .unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().map(|name| self.of(name));
        Some(Arc::clone(named.unwrap_or(&self.first)))
    }
}

impl fmt::Debug for ByServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ByServerName({} names)",
            self.exact.len() + self.wildcard.len()
        )
    }
}
