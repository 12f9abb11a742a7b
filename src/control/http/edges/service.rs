//! What every handler of the edge protocol is given.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
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
use crate::domain::ids::EdgeId;

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
    reporting: Reporting,
}

/// The edges whose report is being read.
type Reporting = Arc<Mutex<HashSet<EdgeId>>>;

/// An edge's turn to report, until it is dropped.
pub(super) struct ReportTurn {
    of: Reporting,
    edge: EdgeId,
}

impl Drop for ReportTurn {
    fn drop(&mut self) {
        let mut all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.edge);
    }
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
            reporting: Reporting::default(),
        })
    }

    /// Follows the store and never ends.
    pub(crate) async fn run(&self) {
        self.hub.run().await;
    }

    /// One report of an edge is read at a time: reports are large.
    ///
    /// # Errors
    /// [`ControlError::Busy`].
    pub(super) fn begin_report(&self, edge: &EdgeId) -> Result<ReportTurn, ControlError> {
        let mut all = self.reporting.lock().unwrap_or_else(PoisonError::into_inner);
        match all.insert(edge.clone()) {
            true => Ok(ReportTurn {
                of: Arc::clone(&self.reporting),
                edge: edge.clone(),
            }),
            false => Err(ControlError::Busy),
        }
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
