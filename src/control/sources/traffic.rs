//! Traffic counts of sources and workspaces, from the reports of gateways.

use super::source::Sources;
use crate::control::changes::Changes;
use crate::store::Store;
use std::sync::RwLock;
use std::sync::{Arc, PoisonError};

use crate::control::actor::Actor;
use crate::control::error::ControlError;
use crate::domain::ids::{SourceId, WorkspaceId};
use crate::domain::role::Action;
use crate::domain::time::UnixSeconds;
use crate::feed::Publisher;
use crate::model::traffic::{SpanTraffic, Traffic};
use crate::report::{Report, Verdict};

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;

/// A source's recent requests, by verdict, reason and client, most frequent first.
#[derive(Clone, Debug)]
pub struct SourceTraffic {
    pub hour: Vec<Traffic>,
    pub day: Vec<Traffic>,
}

impl SourceTraffic {
    /// Requests of the last day with this verdict.
    #[must_use]
    pub fn in_day(&self, verdict: Verdict) -> u64 {
        sum(&self.day, verdict)
    }

    /// Requests of the last hour with this verdict.
    #[must_use]
    pub fn in_hour(&self, verdict: Verdict) -> u64 {
        sum(&self.hour, verdict)
    }

    /// Whether the source was observed for a day, and no request would have been denied.
    #[must_use]
    pub fn is_ready_to_enforce(&self) -> bool {
        self.in_day(Verdict::Allow) > 0 && self.in_day(Verdict::WouldDeny) == 0
    }
}

fn sum(traffic: &[Traffic], verdict: Verdict) -> u64 {
    let alike = traffic.iter().filter(|kind| kind.verdict == verdict);
    alike.fold(0, |sum, kind| sum.saturating_add(kind.requests))
}

/// The latest report of the bundled gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatewayState {
    /// The policy version in force there; 0 before the first.
    pub policy_version: u64,
    /// When that policy was last confirmed as current.
    pub confirmed_at: UnixSeconds,
    /// When the gateway last reported.
    pub heard_at: UnixSeconds,
}

/// Traffic counts.
pub struct TrafficCounts {
    pub(crate) gateway_state: RwLock<Option<GatewayState>>,
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) sources: Arc<Sources>,
}

impl TrafficCounts {
    /// A source's requests of the last hour and day. Counts cover whole spans of five minutes, and a gateway reports
    /// every few seconds.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn source_traffic(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        source: &SourceId,
    ) -> Result<SourceTraffic, ControlError> {
        // Permission to view the source includes its traffic.
        self.sources.get(actor, workspace, source).await?;
        let now = self.changes.now();
        let mut tx = self.store.read().await?;
        Ok(SourceTraffic {
            hour: tx.source_traffic(source, now, HOUR_S).await?,
            day: tx.source_traffic(source, now, DAY_S).await?,
        })
    }

    /// The requests of all of a workspace's sources over the last day, by span.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`] unless the actor is an owner: others may not view all sources.
    pub async fn workspace_traffic(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
    ) -> Result<Vec<SpanTraffic>, ControlError> {
        actor.require(workspace, Action::ViewSource)?;
        let now = self.changes.now();
        Ok(self.store.read().await?.workspace_traffic(workspace, now).await?)
    }

    /// The latest report of the bundled gateway; `None` before the first, or without a bundled gateway.
    #[must_use]
    pub fn gateway_state(&self) -> Option<GatewayState> {
        *self.gateway_state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores one report.
    async fn take_report(&self, report: Report) {
        let now = self.changes.now();
        *self.gateway_state.write().unwrap_or_else(PoisonError::into_inner) = Some(GatewayState {
            policy_version: report.policy_version,
            confirmed_at: UnixSeconds(report.confirmed_at),
            heard_at: now,
        });
        if report.counts.is_empty() {
            return;
        }
        if let Err(error) = self.store.add_traffic(&report.counts, now).await {
            self.changes
                .background_failure(&error, "traffic counts could not be stored");
        }
    }
}

impl TrafficCounts {
    /// Stores the reports of one gateway until it ends.
    pub(crate) async fn take_reports(self: Arc<Self>, publisher: Publisher) {
        while let Some(report) = publisher.next_report().await {
            self.take_report(report).await;
        }
    }
}
