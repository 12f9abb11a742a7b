//! What the edge counted, sent to the control plane: in numbered reports, kept for a while when it is away.

use std::collections::VecDeque;
use std::time::Duration;

use super::client::{Client, LinkError};
use super::metrics::LinkMetrics;
use super::session::SharedSession;
use crate::feed::Publisher;
use crate::fleet::protocol::NumberedReport;

/// Reports that are kept while no control plane takes them; the oldest are dropped.
const WAITING_MAX: usize = 256;

/// The pause after a report was not taken.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Sends reports until the gateway has ended and the last one was sent.
pub(super) async fn run(publisher: Publisher, client: Client, session: SharedSession, metrics: LinkMetrics) {
    let mut sessions = session.subscribe();
    let (mut waiting, mut number) = (VecDeque::new(), 0_u64);
    let mut has_ended = false;
    loop {
        if waiting.is_empty() {
            match publisher.next_report().await {
                Some(report) => waiting.push_back(numbered(&mut number, report)),
                None => return,
            }
        }
        let opened = sessions.borrow_and_update().clone();
        let sent = match (&opened, waiting.front()) {
            (Some(opened), Some(report)) => {
                let token = Some(&opened.token);
                client
                    .send(&opened.control_plane, "/reports", token, report)
                    .await
                    .map(|_| ())
            }
            _ => Err(LinkError::SessionEnded),
        };
        if let Err(error) = &sent
            && is_final(error)
        {
            metrics.report_dropped();
            tracing::warn!(%error, "{REPORT_REFUSED}");
        }
        if sent.as_ref().map_or_else(is_final, |()| true) {
            waiting.pop_front();
            continue;
        }
        if has_ended {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY_AFTER) => {}
            _ = sessions.changed() => {}
            report = publisher.next_report() => match report {
                Some(report) => waiting.push_back(numbered(&mut number, report)),
                None => has_ended = true,
            },
        }
        if waiting.len() > WAITING_MAX {
            waiting.pop_front();
            metrics.report_dropped();
            tracing::warn!("{REPORT_DROPPED}");
        }
    }
}

/// Whether the control plane read the report and refused it, so that sending it again is of no use.
fn is_final(error: &LinkError) -> bool {
    // A timeout and too many requests pass; an ended session is replaced.
    matches!(error, LinkError::Refused { status, .. } if matches!(status, 400..=499) && !matches!(status, 408 | 429))
}

fn numbered(number: &mut u64, report: crate::report::Report) -> NumberedReport {
    *number += 1;
    NumberedReport {
        number: *number,
        report,
    }
}

const REPORT_DROPPED: &str = "report of counted requests dropped: no control plane took it in time";
const REPORT_REFUSED: &str = "report of counted requests dropped: the control plane refused it";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refused_report_is_dropped() {
        let refused = |status| LinkError::Refused {
            status,
            detail: String::new(),
        };
        for status in [400, 413, 415, 422] {
            assert!(is_final(&refused(status)), "{status}");
        }
        for status in [408, 429, 500, 503] {
            assert!(!is_final(&refused(status)), "{status}");
        }
        assert!(!is_final(&LinkError::SessionEnded));
    }
}
