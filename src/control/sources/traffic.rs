//! What gateways counted: the traffic of sources, whether they are ready to enforce, and the charts.

use super::source::Sources;
use crate::control::changes::Changes;
use crate::store::Store;
use std::pin::pin;
use std::sync::RwLock;
use std::sync::{Arc, PoisonError};

use futures::FutureExt as _;

use crate::control::actor::Actor;
use crate::control::error::ControlError;
use crate::domain::ids::{SourceId, WorkspaceId};
use crate::domain::policy::Enforcement;
use crate::domain::role::Action;
use crate::domain::time::UnixSeconds;
use crate::feed::Publisher;
use crate::model::traffic::{SpanTraffic, Traffic};
use crate::report::{Report, Verdict};

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;

/// A source's requests of the last hour and day by verdict, reason and client, the most frequent kind first, and what
/// they say about enforcing it.
#[derive(Clone, Debug)]
pub struct SourceTraffic {
    pub hour: Vec<Traffic>,
    pub day: Vec<Traffic>,
    /// The requests of the last day that the present rules judged: mode, app, and the keys and scopes of the app. None
    /// while enforcement is off.
    pub judged_by_rules: Vec<Traffic>,
    /// Since when the present rules judge requests; none while enforcement is off.
    pub observing_since: Option<UnixSeconds>,
    /// Requests that the present rules did not judge, of the last day or since then, whichever is later.
    pub unjudged: u64,
}

/// Whether a source can be enforced without denying what it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Enforcement is off: nothing is judged.
    NotObserved,
    /// No request was judged under the present rules yet.
    TooEarly,
    /// Requests were denied, or would be.
    NotReady,
    /// Every request that was judged is allowed.
    Ready,
}

impl SourceTraffic {
    /// Requests of the last day with this verdict.
    #[must_use]
    pub fn in_day(&self, verdict: Verdict) -> u64 {
        sum(&self.day, |kind| kind.verdict == verdict)
    }

    /// Requests of the last hour with this verdict.
    #[must_use]
    pub fn in_hour(&self, verdict: Verdict) -> u64 {
        sum(&self.hour, |kind| kind.verdict == verdict)
    }

    /// Requests that the present rules judged, of the last day.
    #[must_use]
    pub fn judged(&self) -> u64 {
        sum(&self.judged_by_rules, |_| true)
    }

    /// Those of them that were denied, or would be if enforcement were on.
    #[must_use]
    pub fn would_deny(&self) -> u64 {
        sum(&self.judged_by_rules, |kind| kind.verdict != Verdict::Allow)
    }

    #[must_use]
    pub fn readiness(&self) -> Readiness {
        match (self.observing_since, self.judged(), self.would_deny()) {
            (None, _, _) => Readiness::NotObserved,
            (Some(_), 0, _) => Readiness::TooEarly,
            (Some(_), _, 0) => Readiness::Ready,
            (Some(_), _, _) => Readiness::NotReady,
        }
    }
}

fn sum(traffic: &[Traffic], counts: impl Fn(&Traffic) -> bool) -> u64 {
    let counted = traffic.iter().filter(|kind| counts(kind));
    counted.fold(0, |sum, kind| sum.saturating_add(kind.requests))
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
        // Who may view the source may see what it receives.
        let found = self.sources.get(actor, workspace, source).await?;
        let now = self.changes.now();
        let mut tx = self.store.read().await?;
        let rules = tx.source_rules(source).await?;
        let observing_since = (found.enforcement != Enforcement::Off).then_some(rules.since);
        let judged_by_rules = match observing_since {
            Some(_) => tx.source_traffic(source, now, DAY_S, Some(rules)).await?,
            None => Vec::new(),
        };
        let day_ago = now.minus(DAY_S);
        let unjudged_since = observing_since.map_or(day_ago, |since| since.max(day_ago));
        Ok(SourceTraffic {
            hour: tx.source_traffic(source, now, HOUR_S, None).await?,
            day: tx.source_traffic(source, now, DAY_S, None).await?,
            judged_by_rules,
            observing_since,
            unjudged: tx
                .requests_not_judged(source, unjudged_since, observing_since.map(|_| rules))
                .await?,
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
        self.add(&report).await;
    }

    /// Adds what a gateway counted.
    pub(crate) async fn add(&self, report: &Report) {
        if report.counts.is_empty() {
            return;
        }
        let now = self.changes.now();
        if let Err(error) = self.store.add_traffic(&report.counts, now).await {
            self.changes
                .background_failure(&error, "traffic counts could not be stored");
        }
    }
}

impl TrafficCounts {
    /// Stores the reports of one gateway until it ends, or until `deadline` if no report is waiting then. A report
    /// that has arrived is stored, however long that takes.
    pub(crate) async fn take_reports(
        self: Arc<Self>,
        publisher: Publisher,
        deadline: impl Future<Output = ()>,
    ) {
        let mut deadline = pin!(deadline.fuse());
        loop {
            let report = tokio::select! {
                biased;
                report = publisher.next_report() => report,
                () = &mut deadline => None,
            };
            let Some(report) = report else { return };
            self.take_report(report).await;
        }
    }
}
