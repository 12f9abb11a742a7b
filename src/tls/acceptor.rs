//! TLS of a listener: the handshake within its timeout, and certificates read again when their files change.
//!
//! A connection keeps the certificate of its handshake. New connections get the last files that were valid.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, ProducesTickets, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificates::{Files, Summary, TlsError};
use super::metrics::{Handshake, TlsMetrics};
use crate::clock::Clock;
use crate::config::{FileWatch, ListenerTls};
use crate::domain::time::UnixSeconds;

/// How often the files are checked where their folders cannot be watched, or no event arrives.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long before a certificate expires a warning is logged, and how often.
const WARN_BEFORE_S: u64 = 14 * 86_400;
const WARN_EVERY_S: u64 = 86_400;

/// The TLS of one listener.
pub struct Acceptor {
    /// The listener's address as configured, for logs and metrics.
    listener: String,
    config: ListenerTls,
    metrics: TlsMetrics,
    current: ArcSwap<ServerConfig>,
    /// Issues and reads session tickets, for all workers and the life of the listener.
    tickets: Option<Arc<dyn ProducesTickets>>,
    looked: Mutex<Lookup>,
}

/// The state of the files when they were last read.
struct Lookup {
    fingerprint: Option<[u8; 32]>,
    summaries: Vec<Summary>,
    warned_at: UnixSeconds,
}

impl Acceptor {
    /// The TLS of the listener at `listener`, counted in `metrics`.
    ///
    /// # Errors
    /// [`TlsError`] names the file that cannot be used.
    pub fn new(listener: &str, config: &ListenerTls, metrics: TlsMetrics) -> Result<Self, TlsError> {
        // A resumed session does not present its client certificate again. Where one is required, every connection
        // presents it.
        let tickets = match config.client_ca {
            None => Some(aws_lc_rs::Ticketer::new()?),
            Some(_) => None,
        };
        let files = Files::read(config)?;
        let (current, summaries) = server_config(&files, config, tickets.as_ref())?;
        Ok(Self {
            listener: listener.to_owned(),
            config: config.clone(),
            metrics,
            current: ArcSwap::from_pointee(current),
            tickets,
            looked: Mutex::new(Lookup {
                fingerprint: Some(files.fingerprint()),
                summaries,
                warned_at: UnixSeconds(0),
            }),
        })
    }

    /// Performs the handshake with a client. None where it fails, or takes longer than `within`.
    pub async fn accept<S>(&self, stream: S, within: Duration) -> Option<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(self.current.load_full());
        let (accepted, result) = match tokio::time::timeout(within, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => (Some(stream), Handshake::Done),
            // Scanners cause thousands of these: they are counted, not logged.
            Ok(Err(_)) => (None, Handshake::Failed),
            Err(_) => (None, Handshake::TimedOut),
        };
        self.metrics.handshake(result);
        accepted
    }

    /// Reads the files again if they have changed. Files that cannot be used change nothing.
    pub fn look(&self, now: UnixSeconds) {
        let mut looked = self.looked.lock();
        let read = Files::read(&self.config);
        let fingerprint = read.as_ref().ok().map(Files::fingerprint);
        if looked.fingerprint != fingerprint {
            looked.fingerprint = fingerprint;
            match read.and_then(|files| self.install(&files, now)) {
                Ok(summaries) => {
                    looked.summaries = summaries;
                    looked.warned_at = UnixSeconds(0);
                    self.metrics.reloaded(true);
                    tracing::info!(listener = self.listener, "certificates reloaded");
                }
                Err(error) => {
                    self.metrics.reloaded(false);
                    tracing::error!(listener = self.listener, %error, "certificates refused");
                }
            }
        }
        self.report(&mut looked, now);
    }

    fn install(&self, files: &Files, now: UnixSeconds) -> Result<Vec<Summary>, TlsError> {
        let (next, summaries) = server_config(files, &self.config, self.tickets.as_ref())?;
        summaries.iter().try_for_each(|summary| summary.is_valid(now))?;
        self.current.store(Arc::new(next));
        Ok(summaries)
    }

    /// Reports when the certificates expire: always as a metric, and as a warning once a day when it is soon.
    fn report(&self, looked: &mut Lookup, now: UnixSeconds) {
        let warn = now.since(looked.warned_at) >= WARN_EVERY_S;
        for summary in &looked.summaries {
            let file = summary.file.display().to_string();
            self.metrics
                .certificate_expires(&self.listener, &file, summary.expires_at);
            if warn && summary.expires_at.minus(WARN_BEFORE_S) <= now {
                looked.warned_at = now;
                tracing::warn!(
                    listener = self.listener,
                    certificate = file,
                    expires_in_s = summary.expires_at.since(now),
                    "certificate expires soon or has expired; replace it"
                );
            }
        }
    }

    /// Removes the listener's series from the metrics.
    pub fn forget(&self) {
        for (cert, _) in &self.config.certificates {
            self.metrics
                .forget_certificate(&self.listener, &cert.display().to_string());
        }
    }

    /// Reads the files whenever they may have changed, until cancelled.
    pub async fn watch(self: Arc<Self>, clock: Clock) {
        let pairs = self.config.certificates.iter();
        let files = pairs.flat_map(|(cert, key)| [cert, key]);
        let mut watch = FileWatch::new(files.chain(&self.config.client_ca), LOOK_EVERY);
        loop {
            watch.next().await;
            self.look(clock.now());
        }
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Acceptor({})", self.listener)
    }
}

/// TLS 1.2 and 1.3 with rustls's defaults, hybrid post-quantum key exchange first; HTTP/2 before HTTP/1.1.
fn server_config(
    files: &Files,
    config: &ListenerTls,
    tickets: Option<&Arc<dyn ProducesTickets>>,
) -> Result<(ServerConfig, Vec<Summary>), TlsError> {
    let (certificates, summaries) = files.certificates(config)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match files.client_verifier(config)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut server = builder.with_cert_resolver(Arc::new(certificates));
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    match tickets {
        Some(tickets) => server.ticketer = Arc::clone(tickets),
        None => {
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = 0;
        }
    }
    Ok((server, summaries))
}
