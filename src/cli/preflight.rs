//! What `check` reports and `serve` refuses before it opens a socket: the config, and every file that it names.

use std::path::Path;

use crate::config;
use crate::config::{Config, ConfigError, ListenerTls, PolicyOrigin, Problem, Severity};
use crate::domain::time::UnixSeconds;
use crate::gateway::link::key_file::KeyFile;
use crate::gateway::link::remote::folder::is_enrolled;
use crate::tls::certificates::{CertificatePart, Inspection, Summary, inspect};

/// A certificate that expires within this many seconds is worth a warning: 14 days.
const EXPIRES_SOON_S: u64 = 14 * 86_400;

/// A config that can be served.
pub(super) struct Checked {
    pub(super) config: Config,
    /// Warnings of the config and of the files that it names.
    pub(super) warnings: Vec<Problem>,
    /// Each listener's address with its certificates.
    pub(super) certificates: Vec<(String, Summary)>,
}

/// Reads and checks a config and what it names.
///
/// # Errors
/// [`ConfigError`] with every problem found.
pub(super) fn read(path: &Path, now: UnixSeconds) -> Result<Checked, ConfigError> {
    read_text(path, &config::read_text(path)?, now)
}

/// The same for a text; `path` is where it stands.
pub(super) fn read_text(path: &Path, text: &str, now: UnixSeconds) -> Result<Checked, ConfigError> {
    let config = config::load_text(path, text)?;
    let mut found = Found {
        config: &config,
        problems: config.warnings.clone(),
        certificates: Vec::new(),
    };
    found.certificates(now);
    found.key_files();
    found.enrolment();
    let (mut problems, certificates) = (found.problems, found.certificates);
    config::annotate(&mut problems, text);
    // The policy file is another text, with places of its own.
    if let PolicyOrigin::File(file) = &config.policy
        && let Err(error) = config::load_policy(file, &config.issuers, 1, now)
    {
        problems.extend(error.problems);
    }
    match problems.iter().any(|one| one.severity == Severity::Error) {
        true => Err(ConfigError { problems }),
        false => Ok(Checked {
            config,
            warnings: problems,
            certificates,
        }),
    }
}

struct Found<'c> {
    config: &'c Config,
    problems: Vec<Problem>,
    certificates: Vec<(String, Summary)>,
}

impl Found<'_> {
    fn add(&mut self, severity: Severity, key: &str, message: String, hint: &str) {
        let place = self.config.places.get(key);
        self.problems.push(Problem {
            severity,
            ..Problem::at(&self.config.path, place, message, hint.to_owned())
        });
    }

    fn certificates(&mut self, now: UnixSeconds) {
        let config = self.config;
        let listeners = config.gateway.iter().flat_map(|gateway| &gateway.listeners);
        for (at, listener) in listeners.enumerate() {
            if let Some(tls) = &listener.tls {
                let key = format!("gateway.listeners[{at}].tls");
                self.certificates_of(&key, &listener.address, tls, now);
            }
        }
        let control = config.control_plane.as_ref();
        if let Some(control) = control
            && let Some(tls) = &control.tls
        {
            self.certificates_of("control_plane.tls", &control.listen, tls, now);
        }
        if let Some(listen) = &config.observability.listen
            && let Some(tls) = &config.observability.tls
        {
            self.certificates_of("observability.tls", listen, tls, now);
        }
        if let Some(edges) = control.and_then(|control| control.edges.as_ref())
            && let Some(tls) = &edges.tls
        {
            self.certificates_of("control_plane.edges.tls", &edges.listen, tls, now);
        }
    }

    fn certificates_of(&mut self, key: &str, address: &str, tls: &ListenerTls, now: UnixSeconds) {
        let Inspection { certificates, faults } = inspect(tls);
        for (part, error) in faults {
            let key = match part {
                CertificatePart::Cert(at) => format!("{key}.certificates[{at}].cert"),
                CertificatePart::Key(at) => format!("{key}.certificates[{at}].key"),
                CertificatePart::ClientCa => format!("{key}.client_ca"),
            };
            self.add(
                Severity::Error,
                &key,
                error.to_string(),
                "name a PEM file that is whole and fits",
            );
        }
        for (at, summary) in certificates {
            let key = format!("{key}.certificates[{at}].cert");
            let file = summary.file.display();
            if let Err(error) = summary.is_valid(now) {
                let severity = Severity::Warning(config::EXPIRED);
                self.add(
                    severity,
                    &key,
                    error.to_string(),
                    "replace the certificate; clients reject it",
                );
            } else if summary.expires_at.since(now) < EXPIRES_SOON_S {
                let days = summary.expires_at.since(now) / 86_400;
                let severity = Severity::Warning(config::EXPIRES_SOON);
                let message = format!("the certificate {file} expires in {days} days");
                self.add(severity, &key, message, "replace the certificate");
            }
            self.certificates.push((address.to_owned(), summary));
        }
    }

    fn key_files(&mut self) {
        if self.config.gateway.is_none() {
            return;
        }
        for (at, issuer) in self.config.issuers.iter().enumerate() {
            let Some(file) = KeyFile::new(issuer) else {
                continue;
            };
            if let Err(error) = file.first() {
                let key = format!("issuers[{at}].jwks_file");
                let hint = "name a JWK set (RFC 7517 section 5) with a key that fits `algorithms`";
                self.add(Severity::Error, &key, error.to_string(), hint);
            }
        }
    }

    /// An edge that has not joined its fleet needs a token to do so.
    fn enrolment(&mut self) {
        if let PolicyOrigin::Remote(remote) = &self.config.policy
            && self.config.gateway.is_some()
            && remote.join.is_none()
            && !is_enrolled(&remote.state)
        {
            let message = "this edge has not joined a fleet, and `join` is missing".to_owned();
            let hint = "set `policy.join` to a token of `portcullis admin edges join-token`";
            self.add(Severity::Error, "policy.source", message, hint);
        }
    }
}
