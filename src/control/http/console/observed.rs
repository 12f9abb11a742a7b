//! Whether a source is ready to enforce, by the requests that its present rules judged.

use std::collections::BTreeMap;

use super::components::{When, counted};
use super::fault::Fault;
use super::visit::PageContext;
use crate::control::plane::Control;
use crate::control::sources::traffic::{Readiness, SourceTraffic};
use crate::domain::decision::DenyReason;
use crate::domain::time::UnixSeconds;
use crate::model::source::Source;
use crate::report::Verdict;

/// Rows of the tables by reason and by client.
const ROWS_SHOWN: usize = 20;

/// The traffic of a source, and whether it is ready to enforce.
pub(crate) struct Observed {
    pub hour: u64,
    pub day: u64,
    /// Requests that the present rules judged, and those of them that were denied or would be.
    pub judged: u64,
    pub would_deny: u64,
    pub unjudged: u64,
    /// How long the present rules have judged requests.
    pub since: Option<When>,
    /// Why judged requests were denied or would be, and how many.
    pub reasons: Vec<Reason>,
    /// The same by client: its product and address.
    pub clients: Vec<(String, u64)>,
    readiness: Readiness,
}

/// A deny reason with its description.
pub(crate) struct Reason {
    pub word: String,
    pub why: &'static str,
    pub count: u64,
}

impl Observed {
    pub async fn of(control: &Control, visit: &PageContext, source: &Source) -> Result<Self, Fault> {
        let traffic = control
            .traffic
            .source_traffic(&visit.actor, &visit.workspace.id, &source.id)
            .await?;
        Ok(Self::new(&traffic, visit.now))
    }

    pub fn is_ready(&self) -> bool {
        self.readiness == Readiness::Ready
    }

    pub fn is_too_early(&self) -> bool {
        self.readiness == Readiness::TooEarly
    }

    /// What turning enforcement on would deny, in sentences.
    pub fn would_break(&self) -> Vec<String> {
        let since = self.since.as_ref().map(When::words).unwrap_or_default();
        match self.readiness {
            Readiness::NotObserved => vec![
                "This source has not been observed, so it is unknown which requests would be denied. To find out, start observing first."
                    .to_owned(),
            ],
            Readiness::TooEarly => vec![format!(
                "Too early to say which requests would be denied: none has arrived since observing started {since} ago."
            )],
            Readiness::Ready => vec![format!(
                "None of the {} of the last {since} would be denied.",
                counted(self.judged, "request")
            )],
            Readiness::NotReady => self.denials(since),
        }
    }

    fn denials(&self, since: &str) -> Vec<String> {
        let mut lines = vec![format!(
            "{} of {} of the last {since} would be denied.",
            self.would_deny,
            counted(self.judged, "request")
        )];
        lines.extend(
            self.reasons
                .iter()
                .map(|reason| format!("{} for {}: {}.", reason.count, reason.word, reason.why)),
        );
        lines.extend(
            self.clients
                .iter()
                .map(|(client, count)| format!("{count} from {client}.")),
        );
        lines
    }

    fn new(traffic: &SourceTraffic, now: UnixSeconds) -> Self {
        let all = |count: &dyn Fn(Verdict) -> u64| {
            [Verdict::Allow, Verdict::Deny, Verdict::WouldDeny]
                .into_iter()
                .fold(0, |sum: u64, verdict| sum.saturating_add(count(verdict)))
        };
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        let mut clients: BTreeMap<String, u64> = BTreeMap::new();
        let denied = traffic.judged_by_rules.iter();
        for kind in denied.filter(|kind| kind.verdict != Verdict::Allow) {
            let client = match (kind.agent.as_str(), kind.address.as_str()) {
                ("", "") => "other clients".to_owned(),
                (agent, "") => agent.to_owned(),
                (agent, address) => format!("{agent} at {address}"),
            };
            *reasons.entry(&kind.reason).or_default() += kind.requests;
            *clients.entry(client).or_default() += kind.requests;
        }
        Self {
            hour: all(&|verdict| traffic.in_hour(verdict)),
            day: all(&|verdict| traffic.in_day(verdict)),
            judged: traffic.judged(),
            would_deny: traffic.would_deny(),
            unjudged: traffic.unjudged,
            since: traffic.observing_since.map(|at| When::lasting(at, now)),
            reasons: most(reasons)
                .map(|(word, count)| Reason {
                    word: word.to_owned(),
                    why: why(word),
                    count,
                })
                .collect(),
            clients: most(clients).collect(),
            readiness: traffic.readiness(),
        }
    }
}

/// The most frequent first.
fn most<K>(counts: BTreeMap<K, u64>) -> impl Iterator<Item = (K, u64)> {
    let mut counts: Vec<(K, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.into_iter().take(ROWS_SHOWN)
}

fn why(word: &str) -> &'static str {
    let reason = DenyReason::ALL.iter().find(|reason| reason.as_str() == word);
    reason.map(|reason| reason.description()).unwrap_or_default()
}
