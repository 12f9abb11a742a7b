//! What every handler of the edge protocol is given.

use std::sync::Arc;
use std::time::Duration;

use crate::control::client_address::ClientAddress;
use crate::control::error::ControlError;
use crate::control::fleet::edges::Edges;
use crate::control::fleet::hub::Hub;
use crate::control::fleet::instances::Instances;
use crate::control::fleet::sessions::EdgeSessions;
use crate::control::http::observed::Requests;
use crate::control::plane::Control;
use crate::control::rate_limits::Limits;
use crate::control::sources::traffic::TrafficCounts;

/// How the fleet is served.
#[derive(Clone, Copy, Debug)]
pub struct EdgeService {
    /// Connections of all edges together.
    pub connections: usize,
    /// Snapshots served at once; further ones are answered 503.
    pub downloads: usize,
    /// How often an edge hears from the control plane, and asks it, at least.
    pub heartbeat: Duration,
}

/// What every handler is given.
pub(crate) struct EdgeState {
    pub(super) edges: Arc<Edges>,
    pub(super) instances: Arc<Instances>,
    pub(super) sessions: EdgeSessions,
    pub(super) hub: Hub,
    pub(super) traffic: Arc<TrafficCounts>,
    pub(super) limits: Arc<Limits>,
    pub(super) heartbeat: Duration,
    pub(super) requests: Arc<Requests>,
}

impl EdgeState {
    pub(crate) fn new(control: &Control, service: &EdgeService) -> Result<Self, ControlError> {
        let (edges, instances) = (Arc::clone(&control.edges), Arc::clone(&control.instances));
        Ok(Self {
            sessions: EdgeSessions::new(Arc::clone(&edges), Arc::clone(&instances))?,
            hub: Hub::new(
                Arc::clone(&control.fleet),
                Arc::clone(&instances),
                service.downloads,
            ),
            edges,
            instances,
            traffic: Arc::clone(&control.traffic),
            limits: Arc::clone(&control.limits),
            heartbeat: service.heartbeat,
            requests: Arc::clone(&control.requests),
        })
    }

    /// Follows the store and never ends.
    pub(crate) async fn run(&self) {
        self.hub.run().await;
    }

    /// Counts a failed attempt of this address; too many are refused.
    pub(super) fn failed(&self, from: ClientAddress, error: ControlError) -> ControlError {
        if !matches!(error, ControlError::Unauthenticated | ControlError::JoinRefused) {
            return error;
        }
        match self.limits.failed_authentication(from) {
            Ok(()) => error,
            Err(wait) => wait.into(),
        }
    }
}
