//! Counts requests by source, for the control plane: what was let through, refused, or would have been.
//!
//! An operator who thinks of enforcing a source asks who would be cut off. The metrics cannot tell, since no
//! label may take a value that a client chooses; this can, since it is bounded in every direction: so many
//! sources between two reports, so many kinds of client for each, and names cut short.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::SmallVec;

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

/// Policy versions that are kept apart for one source between two reports. Requests of further ones are counted under the
/// last of these, so a count never claims a newer policy than the one that judged.
const VERSIONS_MAX: usize = 8;

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
    /// The policy versions that judged, oldest first.
    versions: SmallVec<[u64; 1]>,
    /// Allowed requests by version, in the order of `versions`.
    allowed: SmallVec<[u64; 1]>,
    refused: Vec<Refused>,
}

struct Refused {
    version: u64,
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
    /// Counts a request that the policy of this version allowed.
    pub fn allowed(&self, source: &Source, version: u64) {
        self.with(source, |counts| {
            let (at, _) = counts.version(version);
            if let Some(allowed) = counts.allowed.get_mut(at) {
                *allowed += 1;
            }
        });
    }

    /// Counts a request that the policy of this version denied, or would have denied.
    pub fn refused(
        &self,
        source: &Source,
        version: u64,
        verdict: Verdict,
        reason: DenyReason,
        client: Client<'_>,
    ) {
        self.with(source, |counts| {
            let (_, version) = counts.version(version);
            let alike = |held: &&mut Refused| {
                held.version == version
                    && held.verdict == verdict
                    && held.reason == reason
                    && held.agent == client.agent
                    && held.address == client.address
            };
            if let Some(held) = counts.refused.iter_mut().find(alike) {
                held.requests += 1;
                return;
            }
            let mut client = client;
            if counts
                .refused
                .iter()
                .filter(|held| held.version == version)
                .count()
                >= CLIENTS_MAX
            {
                client = Client {
                    agent: "",
                    address: None,
                };
                let others = |held: &&mut Refused| {
                    held.version == version
                        && held.verdict == verdict
                        && held.reason == reason
                        && held.agent.is_empty()
                };
                if let Some(held) = counts.refused.iter_mut().find(others) {
                    held.requests += 1;
                    return;
                }
            }
            // The reasons are few, so the entries past the bound are, too.
            counts.refused.push(Refused {
                version,
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
                let needed = held.versions.len() + held.refused.len();
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
    /// Where requests that this version judged are counted, and under which version. Requests that are judged by a
    /// version and counted after a newer one are counted under the newest that is not newer.
    fn version(&mut self, version: u64) -> (usize, u64) {
        let older = self.versions.partition_point(|held| *held <= version);
        if let Some(at) = older.checked_sub(1)
            && let Some(held) = self.versions.get(at)
            && (*held == version || self.versions.len() >= VERSIONS_MAX)
        {
            return (at, *held);
        }
        if self.versions.len() >= VERSIONS_MAX {
            // Older than all: the oldest takes its place, so that it still claims no newer policy.
            if let Some(oldest) = self.versions.first_mut() {
                let before = std::mem::replace(oldest, version);
                for held in self.refused.iter_mut().filter(|held| held.version == before) {
                    held.version = version;
                }
            }
            return (0, version);
        }
        self.versions.insert(older, version);
        self.allowed.insert(older, 0);
        (older, version)
    }

    fn into_counts(self, source: &SourceId) -> Vec<Count> {
        let mut counts = Vec::with_capacity(self.versions.len() + self.refused.len());
        let count = |policy_version, verdict, reason: &str, agent, address: String, requests| Count {
            source: source.as_str().to_owned(),
            policy_version,
            verdict,
            reason: reason.to_owned(),
            agent,
            address,
            requests,
        };
        for (version, allowed) in self.versions.iter().zip(self.allowed) {
            if allowed > 0 {
                let (agent, address) = (String::new(), String::new());
                counts.push(count(*version, Verdict::Allow, "", agent, address, allowed));
            }
        }
        for held in self.refused {
            let address = held
                .address
                .map_or_else(String::new, |address| address.to_string());
            counts.push(count(
                held.version,
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
