//! What the edge counted, sent to the control plane: in numbered reports, kept for a while when it is away.

use std::collections::VecDeque;
use std::time::Duration;

use super::client::Client;
use super::session::SharedSession;
use crate::feed::Publisher;
use crate::fleet::protocol::NumberedReport;

/// Reports that are kept while no control plane takes them; the oldest are dropped.
const WAITING_MAX: usize = 256;

/// The pause after a report was not taken.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Sends reports until the gateway has ended and the last one was sent.
pub(super) async fn run(publisher: Publisher, client: Client, session: SharedSession) {
    let mut sessions = session.subscribe();
    let (mut waiting, mut number, mut dropped) = (VecDeque::new(), 0_u64, 0_u64);
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
                let sent = client
                    .send(&opened.control_plane, "/reports", token, report)
                    .await;
                sent.is_ok()
            }
            _ => false,
        };
        if sent {
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
            dropped += 1;
            tracing::warn!(dropped, "{REPORT_DROPPED}");
        }
    }
}

fn numbered(number: &mut u64, report: crate::report::Report) -> NumberedReport {
    *number += 1;
    NumberedReport {
        number: *number,
        report,
    }
}

const REPORT_DROPPED: &str = "a report of counted requests was dropped: no control plane took it";
