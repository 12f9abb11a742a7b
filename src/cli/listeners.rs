//! The listeners of the control plane, of edges and of observability: sockets, TLS and metrics.

use std::net::{SocketAddr, TcpListener as BoundSocket};
use std::sync::Arc;

use prometheus::Registry;
use tokio::net::TcpListener;

use super::failure::Failure;
use crate::clock::Clock;
use crate::config::{Config, ListenerTls};
use crate::connections::ConnectionMetrics;
use crate::gateway::listen::sockets::Sockets;
use crate::tls::acceptor::Acceptor;
use crate::tls::metrics::TlsMetrics;

/// A listener whose socket is bound.
pub(super) struct Bound {
    /// As configured.
    configured: String,
    socket: BoundSocket,
    pub tls: Option<Arc<Acceptor>>,
}

/// The listeners that are not the gateway's. Their sockets stay open to be handed over.
pub(super) struct Listeners {
    pub control: Option<Bound>,
    pub edges: Option<Bound>,
    pub observability: Option<Bound>,
    pub edge_connections: ConnectionMetrics,
    pub observability_connections: ConnectionMetrics,
}

impl Listeners {
    /// Binds the sockets that a config names, and reads the certificates.
    ///
    /// # Errors
    /// An address cannot be listened on, or a certificate or key cannot be used.
    pub(super) fn bind(config: &Config, sockets: &mut Sockets, registry: &Registry) -> Result<Self, Failure> {
        let control = config.control_plane.as_ref();
        let edges = control.and_then(|control| control.edges.as_ref());
        let observability = &config.observability;
        let mut bind = |plane, address: Option<&String>, tls: Option<&ListenerTls>| match address {
            Some(address) => Bound::new(plane, address, tls, sockets, registry).map(Some),
            None => Ok(None),
        };
        Ok(Self {
            control: bind(
                "control_plane",
                control.map(|one| &one.listen),
                control.and_then(|one| one.tls.as_ref()),
            )?,
            edges: bind(
                "edges",
                edges.map(|one| &one.listen),
                edges.and_then(|one| one.tls.as_ref()),
            )?,
            observability: bind(
                "observability",
                observability.listen.as_ref(),
                observability.tls.as_ref(),
            )?,
            edge_connections: connections("edges", edges.is_some(), registry)?,
            observability_connections: connections(
                "observability",
                observability.listen.is_some(),
                registry,
            )?,
        })
    }

    /// Reads certificates again where their files have changed.
    pub(super) fn reread_files(&self) {
        let now = Clock::System.now();
        let all = [&self.control, &self.edges, &self.observability];
        for tls in all.into_iter().flatten().filter_map(|one| one.tls.as_ref()) {
            tls.look(now);
        }
    }

    /// Further handles to the sockets, by their configured addresses.
    pub(super) fn handles(&self) -> std::io::Result<Vec<(String, BoundSocket)>> {
        let all = [&self.control, &self.edges, &self.observability];
        all.into_iter()
            .flatten()
            .map(|one| Ok((one.configured.clone(), one.socket.try_clone()?)))
            .collect()
    }

    /// Closes the sockets of the control plane.
    pub(super) fn close_control(&mut self) {
        self.control = None;
        self.edges = None;
    }
}

impl Bound {
    fn new(
        plane: &'static str,
        address: &str,
        tls: Option<&ListenerTls>,
        sockets: &mut Sockets,
        registry: &Registry,
    ) -> Result<Self, Failure> {
        let tls = match tls {
            None => None,
            Some(tls) => {
                let metrics = TlsMetrics::new(plane).map_err(Failure::internal)?;
                metrics.register(registry).map_err(Failure::internal)?;
                Some(Acceptor::new(address, tls, metrics).map_err(Failure::input)?)
            }
        };
        Ok(Self {
            configured: address.to_owned(),
            socket: sockets.take_or_bind(address)?,
            tls: tls.map(Arc::new),
        })
    }

    /// The address that is listened on: the configured one, with the port that was free.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }

    /// A further handle to the socket, to accept on.
    pub(super) fn listen(&self) -> Result<TcpListener, Failure> {
        let socket = self.socket.try_clone().map_err(Failure::internal)?;
        TcpListener::from_std(socket).map_err(Failure::internal)
    }
}

fn connections(
    plane: &'static str,
    is_used: bool,
    registry: &Registry,
) -> Result<ConnectionMetrics, Failure> {
    let metrics = ConnectionMetrics::new(plane).map_err(Failure::internal)?;
    if is_used {
        metrics.register(registry).map_err(Failure::internal)?;
    }
    Ok(metrics)
}
