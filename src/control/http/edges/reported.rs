//! What an edge reports, checked before it is stored: counts that no gateway makes could fill the store.

use std::net::IpAddr;

use crate::control::error::ControlError;
use crate::domain::decision::DenyReason;
use crate::report::{COUNTS_MAX, Count, Report, Verdict, agent};

/// Requests of one count: more than a gateway serves in a day. Sums of such counts stay numbers.
const REQUESTS_MAX: u64 = 1 << 40;

/// Stands for the reasons of later versions.
const UNKNOWN_REASON: &str = "unknown";

/// Checks a report. A reason that this version does not know becomes `unknown`: there is any number of such, and each
/// would have rows of its own.
///
/// # Errors
/// [`ControlError::Invalid`] for counts that no gateway makes.
pub(super) fn checked(mut report: Report) -> Result<Report, ControlError> {
    if report.counts.len() > COUNTS_MAX || !report.counts.iter().all(is_well_formed) {
        return Err(ControlError::invalid(
            "report",
            "has counts that no gateway makes",
        ));
    }
    for count in &mut report.counts {
        let is_known = |reason: &DenyReason| reason.as_str() == count.reason;
        if !count.reason.is_empty() && !DenyReason::ALL.iter().any(is_known) {
            UNKNOWN_REASON.clone_into(&mut count.reason);
        }
    }
    Ok(report)
}

fn is_well_formed(count: &Count) -> bool {
    let is_agent = count.agent.is_empty() || agent(Some(count.agent.as_bytes())) == count.agent;
    // Counts without a client have rows of their own without a bound, and so they name no address either.
    let is_address = match count.agent.is_empty() {
        true => count.address.is_empty(),
        false => count.address.is_empty() || count.address.parse::<IpAddr>().is_ok(),
    };
    let has_reason = !count.reason.is_empty();
    let is_reason = has_reason == (count.verdict != Verdict::Allow);
    is_agent && is_address && is_reason && count.requests <= REQUESTS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_no_gateway_makes_are_refused() {
        let good = Count {
            source: String::new(),
            policy_version: 1,
            verdict: Verdict::Deny,
            reason: "of_a_later_version".to_owned(),
            agent: "analytics-python/2.4.0".to_owned(),
            address: "192.0.2.1".to_owned(),
            requests: 1,
        };
        let check = |counts: Vec<Count>| {
            checked(Report {
                counts,
                ..Report::default()
            })
        };
        let known = check(vec![good.clone(); COUNTS_MAX]).unwrap();
        assert_eq!(known.counts[0].reason, "unknown");
        let spoiled: [fn(&mut Count); 5] = [
            |count| count.agent = "a b".to_owned(),
            |count| count.agent = String::new(),
            |count| count.address = "x".to_owned(),
            |count| count.reason = String::new(),
            |count| count.requests = u64::MAX,
        ];
        for spoil in spoiled {
            let mut count = good.clone();
            spoil(&mut count);
            assert!(check(vec![good.clone(), count]).is_err());
        }
        assert!(check(vec![good; COUNTS_MAX + 1]).is_err());
    }
}
