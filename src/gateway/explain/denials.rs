//! The last denials of a running gateway, each with its explanation: what `explain --request-id` looks up.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::explanation::Explanation;
use crate::domain::time::UnixSeconds;

/// How many denials are kept.
pub const DENIALS_MAX: usize = 1_000;

/// A denied request. It holds no credential, no query and no body.
#[derive(Debug)]
pub struct DenialRecord {
    pub request_id: String,
    pub at: UnixSeconds,
    pub client: Option<IpAddr>,
    pub method: String,
    /// As the access log shows it.
    pub path: String,
    pub explanation: Explanation,
}

/// The last denials, the oldest first. Room for [`DENIALS_MAX`].
#[derive(Default)]
pub struct RecentDenials(Mutex<VecDeque<Arc<DenialRecord>>>);

impl RecentDenials {
    /// Adds a denial. The oldest goes for it.
    pub fn add(&self, record: DenialRecord) {
        let mut held = self.0.lock();
        if held.len() >= DENIALS_MAX {
            held.pop_front();
        }
        held.push_back(Arc::new(record));
    }

    /// The latest denial with this request id.
    #[must_use]
    pub fn find(&self, request_id: &str) -> Option<Arc<DenialRecord>> {
        let held = self.0.lock();
        let mut newest_first = held.iter().rev();
        newest_first.find(|held| held.request_id == request_id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::explain::explanation::Outcome;

    fn record(number: usize) -> DenialRecord {
        DenialRecord {
            request_id: number.to_string(),
            at: UnixSeconds(0),
            client: None,
            method: String::new(),
            path: String::new(),
            explanation: Explanation {
                outcome: Outcome::Deny,
                reason: None,
                sentence: None,
                policy_version: None,
                api: None,
                source: None,
                app: None,
                checks: Vec::new(),
                lacks_keys_of: None,
            },
        }
    }

    #[test]
    fn oldest_denial_goes_for_a_new_one() {
        let denials = RecentDenials::default();
        (0..=DENIALS_MAX).for_each(|number| denials.add(record(number)));
        assert!(denials.find("0").is_none());
        assert!(denials.find("1").is_some() && denials.find(&DENIALS_MAX.to_string()).is_some());
        assert_eq!(denials.0.lock().len(), DENIALS_MAX);
    }
}
