//! What enforcement would do to a source, from what its requests were judged lately.

use std::collections::BTreeMap;

use super::components::counted;
use super::fault::Fault;
use super::visit::PageContext;
use crate::control::plane::Control;
use crate::control::sources::traffic::SourceTraffic;
use crate::domain::decision::DenyReason;
use crate::model::source::Source;
use crate::report::Verdict;

/// Rows of the tables by reason and by client.
const ROWS_SHOWN: usize = 20;

/// What the gateways reported of a source.
pub(crate) struct Observed {
    pub hour: Judged,
    pub day: Judged,
    /// What requests of the last day were denied for, or would have been, and how many of them.
    pub reasons: Vec<Reason>,
    /// The same by client: its product and address.
    pub clients: Vec<(String, u64)>,
    ready: bool,
}

/// How many requests of a time were judged, and how many of them were denied or would have been.
#[derive(Clone, Copy)]
pub(crate) struct Judged {
    pub all: u64,
    pub denied: u64,
    pub would_deny: u64,
}

/// One reason with its sentence.
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
        Ok(Self::from(&traffic))
    }

    /// Whether turning enforcement on would break nothing that was seen.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// What turning enforcement on would have broken, in sentences.
    pub fn would_break(&self) -> Vec<String> {
        if self.day.all == 0 {
            return vec!["No gateway counted a request of this source in the last day, so this page cannot say what will break.".to_owned()];
        }
        if self.day.would_deny == 0 {
            return vec![format!(
                "None of the {} of the last day would have been denied.",
                counted(self.day.all, "request")
            )];
        }
        let mut lines = vec![format!(
            "{} of {} of the last day would have been denied, {} of them in the last hour.",
            self.day.would_deny,
            counted(self.day.all, "request"),
            self.hour.would_deny
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
}

impl From<&SourceTraffic> for Observed {
    fn from(traffic: &SourceTraffic) -> Self {
        let judged = |count: &dyn Fn(Verdict) -> u64| {
            let [allowed, denied, would_deny] =
                [Verdict::Allow, Verdict::Deny, Verdict::WouldDeny].map(count);
            Judged {
                all: allowed.saturating_add(denied).saturating_add(would_deny),
                denied,
                would_deny,
            }
        };
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        let mut clients: BTreeMap<String, u64> = BTreeMap::new();
        for kind in traffic.day.iter().filter(|kind| kind.verdict != Verdict::Allow) {
            let client = match (kind.agent.as_str(), kind.address.as_str()) {
                ("", "") => "other clients".to_owned(),
                (agent, "") => agent.to_owned(),
                (agent, address) => format!("{agent} at {address}"),
            };
            *reasons.entry(&kind.reason).or_default() += kind.requests;
            *clients.entry(client).or_default() += kind.requests;
        }
        Self {
            hour: judged(&|verdict| traffic.in_hour(verdict)),
            day: judged(&|verdict| traffic.in_day(verdict)),
            reasons: most(reasons)
                .map(|(word, count)| Reason {
                    word: word.to_owned(),
                    why: why(word),
                    count,
                })
                .collect(),
            clients: most(clients).collect(),
            ready: traffic.is_ready_to_enforce(),
        }
    }
}

/// The most frequent ones, first.
fn most<K>(counts: BTreeMap<K, u64>) -> impl Iterator<Item = (K, u64)> {
    let mut counts: Vec<(K, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.into_iter().take(ROWS_SHOWN)
}

fn why(word: &str) -> &'static str {
    let reason = DenyReason::ALL.iter().find(|reason| reason.as_str() == word);
    reason.map(|reason| reason.description()).unwrap_or_default()
}
