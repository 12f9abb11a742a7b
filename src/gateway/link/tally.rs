//! Counts requests by source, for the control plane: what was let through, refused, or would have been.
//!
//! An operator who thinks of enforcing a source asks who would be cut off. The metrics cannot tell, since no
//! label may take a value that a client chooses; this can, since it is bounded in every direction: so many
//! sources between two reports, so many kinds of client for each, and names cut short.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::decision::DenyReason;
use crate::domain::ids::SourceId;
use crate::domain::policy::Source;
use crate::feed::{Reporter, ReportsClosed};
use crate::gateway::state::policy_cell::PolicyCell;
use crate::report::{COUNTS_MAX, Count, Report, Verdict};

/// How often what was counted is reported.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Sources that are kept apart between two reports. Requests of further ones are in the metrics only.
const SOURCES_MAX: usize = 100_000;

/// Kinds of denied client that are kept apart for one source between two reports; the others are counted together.
const CLIENTS_MAX: usize = 16;

/// Parts of the table, so that workers seldom wait for each other.
const SHARDS: usize = 16;

/// Who sent a request, as it is counted.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    pub agent: &'a str,
    pub address: Option<IpAddr>,
}

/// The counts since the last report.
pub struct Tally {
    shards: [Mutex<HashMap<SourceId, PerSource, foldhash::fast::RandomState>>; SHARDS],
}

#[derive(Default)]
struct PerSource {
    allowed: u64,
    refused: Vec<Refused>,
}

struct Refused {
    verdict: Verdict,
    reason: DenyReason,
    /// Empty where too many clients were seen to keep them apart.
    agent: String,
    address: Option<IpAddr>,
    requests: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Tally {
    /// Counts a request that was let through for good.
    pub fn allowed(&self, source: &Source) {
        self.with(source, |counts| counts.allowed += 1);
    }

    /// Counts a request that was refused, or would have been.
    pub fn refused(&self, source: &Source, verdict: Verdict, reason: DenyReason, client: Client<'_>) {
        self.with(source, |counts| {
            let alike = |held: &&mut Refused| {
                held.verdict == verdict
                    && held.reason == reason
                    && held.agent == client.agent
                    && held.address == client.address
            };
            if let Some(held) = counts.refused.iter_mut().find(alike) {
                held.requests += 1;
                return;
            }
            let mut client = client;
            if counts.refused.len() >= CLIENTS_MAX {
                client = Client {
                    agent: "",
                    address: None,
                };
                let others = |held: &&mut Refused| {
                    held.verdict == verdict && held.reason == reason && held.agent.is_empty()
                };
                if let Some(held) = counts.refused.iter_mut().find(others) {
                    held.requests += 1;
                    return;
                }
            }
            // The reasons are few, so the entries past the bound are, too.
            counts.refused.push(Refused {
                verdict,
                reason,
                agent: client.agent.to_owned(),
                address: client.address,
                requests: 1,
            });
        });
    }

    fn with(&self, source: &Source, count: impl FnOnce(&mut PerSource)) {
        let at = usize::try_from(source.id.digest().bits() % SHARDS as u128).unwrap_or(0);
        let Some(shard) = self.shards.get(at) else { return };
        let mut shard = shard.lock();
        if let Some(held) = shard.get_mut(&source.id) {
            count(held);
        } else if shard.len() < SOURCES_MAX / SHARDS {
            count(shard.entry(source.id.clone()).or_default());
        }
    }

    /// Takes what was counted, up to one report's worth.
    fn take(&self) -> Vec<Count> {
        let mut counts = Vec::new();
        for shard in &self.shards {
            let mut left = COUNTS_MAX.saturating_sub(counts.len());
            let fits = |_: &SourceId, held: &mut PerSource| {
                let needed = 1 + held.refused.len();
                let fits = needed <= left;
                left = if fits { left - needed } else { 0 };
                fits
            };
            for (source, held) in shard.lock().extract_if(fits) {
                counts.extend(held.into_counts(&source));
            }
        }
        counts
    }

    /// Reports what was counted, in as many reports as it takes.
    ///
    /// # Errors
    /// The control plane has ended.
    pub async fn report(&self, policy: &PolicyCell, reporter: &Reporter) -> Result<(), ReportsClosed> {
        loop {
            let (policy_version, confirmed_at) = match policy.load().as_deref() {
                Some(held) => (held.version(), held.confirmed_at().0),
                None => (0, 0),
            };
            let counts = self.take();
            let full = counts.len() >= COUNTS_MAX / 2;
            // Waits where the control plane is behind: meanwhile the counts go on in the table, which is bounded.
            reporter
                .report(Report {
                    policy_version,
                    confirmed_at,
                    counts,
                })
                .await?;
            if !full {
                return Ok(());
            }
        }
    }

    /// Reports every few seconds until the control plane has ended.
    pub async fn keep_reporting(&self, policy: &PolicyCell, reporter: &Reporter) {
        let mut ticks = tokio::time::interval(REPORT_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.report(policy, reporter).await.is_err() {
                return;
            }
        }
    }
}

impl PerSource {
    fn into_counts(self, source: &SourceId) -> Vec<Count> {
        let mut counts = Vec::with_capacity(1 + self.refused.len());
        let count = |verdict, reason: &str, agent, address: String, requests| Count {
            source: source.as_str().to_owned(),
            verdict,
            reason: reason.to_owned(),
            agent,
            address,
            requests,
        };
        if self.allowed > 0 {
            counts.push(count(
                Verdict::Allow,
                "",
                String::new(),
                String::new(),
                self.allowed,
            ));
        }
        for held in self.refused {
            let address = held
                .address
                .map_or_else(String::new, |address| address.to_string());
            counts.push(count(
                held.verdict,
                held.reason.as_str(),
                held.agent,
                address,
                held.requests,
            ));
        }
        counts
    }
}
