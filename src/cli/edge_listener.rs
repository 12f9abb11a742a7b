//! The edge listener with its TLS: the same certificates, read again when they change, as a gateway's listener has.

use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

use super::failure::Failure;
use crate::clock::Clock;
use crate::config::EdgeListener;
use crate::control::Control;
use crate::control::http::edges::listener::{Accept, Plain, serve};
use crate::control::http::edges::service::EdgeService;
use crate::gateway::wire::buffered::Buffered;
use crate::gateway::wire::tls::Acceptor;
use crate::gateway::wire::transport_metrics::Transport;

/// How long a TLS handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

const NOT_SERVED: &str = "the edge listener could not start; edges serve their last policy until `max_age`";

/// Ends TLS on accepted connections.
#[derive(Clone)]
struct Tls {
    acceptor: Arc<Acceptor>,
    metrics: Transport,
}

impl Accept for Tls {
    type Stream = TlsStream<Buffered>;

    async fn accept(&self, stream: TcpStream) -> Option<Self::Stream> {
        let stream = Buffered::new(stream);
        self.acceptor
            .accept(stream, HANDSHAKE_WITHIN, &self.metrics)
            .await
    }
}

/// Prepares the listener. What it returns serves edges until `shutdown`.
///
/// # Errors
/// A certificate or key cannot be used.
pub(super) fn prepare(
    config: &EdgeListener,
    control: Arc<Control>,
    socket: TcpListener,
    registry: &Registry,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let service = EdgeService {
        connections: config.connections,
        downloads: config.downloads,
        heartbeat: config.heartbeat,
    };
    let tls = match &config.tls {
        None => None,
        Some(tls) => Some(Tls {
            acceptor: Arc::new(Acceptor::new(&config.listen, tls).map_err(Failure::input)?),
            metrics: Transport::new(registry).map_err(Failure::internal)?,
        }),
    };
    Ok(async move {
        let served = match tls {
            None => serve(control, service, socket, Plain, shutdown).await,
            Some(tls) => {
                let watching = Arc::clone(&tls.acceptor).watch(Clock::System, tls.metrics.clone());
                let serving = serve(control, service, socket, tls, shutdown);
                tokio::select! {
                    served = serving => served,
                    () = watching => Ok(()),
                }
            }
        };
        if let Err(error) = served {
            tracing::error!(%error, "{NOT_SERVED}");
        }
    })
}
