//! Where the quickstart's planes and edges listen, and the values of the env file that follow from it.

use std::net::SocketAddr;
use std::path::Path;

use super::config::PUBLIC_HOST;
use crate::cli::failure::Failure;
use crate::cli::planes::Planes;
use crate::gateway::server::Running;

/// The URLs of edges in the env file, separated by commas.
pub(super) const EDGE_URLS: &str = "EDGE_URLS";

/// Where the planes listen.
pub(super) struct Addresses {
    pub(super) gateway: SocketAddr,
    pub(super) control: SocketAddr,
    pub(super) observability: SocketAddr,
    /// Where edges that run here serve, in order.
    pub(super) edges: Vec<SocketAddr>,
}

impl Addresses {
    pub(super) fn of(planes: &Planes) -> Result<Self, Failure> {
        let missing = || Failure::internal("a listener is missing");
        Ok(Self {
            gateway: planes
                .gateway
                .as_ref()
                .map(Running::addresses)
                .and_then(|all| all.first().copied())
                .ok_or_else(missing)?,
            control: planes.control_address.ok_or_else(missing)?,
            observability: planes.observability_address.ok_or_else(missing)?,
            edges: Vec::new(),
        })
    }

    /// The values of the env file that follow from where the planes listen.
    pub(super) fn values(&self, upstream_log: &Path) -> Vec<(&'static str, String)> {
        let (gateway, control, observability) = (self.gateway, self.control, self.observability);
        let edges: Vec<String> = self.edges.iter().map(|edge| format!("http://{edge}")).collect();
        let edges = (!edges.is_empty()).then(|| (EDGE_URLS, edges.join(",")));
        let values = [
            ("GATEWAY_URL", format!("http://{gateway}")),
            ("FUNCTIONS_URL", format!("http://{gateway}")),
            (
                "PUBLIC_API_URL",
                format!("http://{PUBLIC_HOST}:{}", gateway.port()),
            ),
            ("TOKEN_URL", format!("http://{control}/token")),
            ("AUTH_SERVER", format!("http://{control}")),
            ("JWKS_URL", format!("http://{control}/.well-known/jwks.json")),
            ("METRICS_URL", format!("http://{observability}/metrics")),
            ("CONSOLE_URL", format!("http://{control}/")),
            ("API_URL", format!("http://{control}/api/v1")),
            ("ISSUER", format!("http://{control}")),
            ("UPSTREAM_LOG", upstream_log.display().to_string()),
        ];
        values.into_iter().chain(edges).collect()
    }
}
