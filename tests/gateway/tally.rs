//! Counts of each source's requests, as they are reported to the control plane.

use std::time::Duration;

use portcullis::report::{Count, Verdict};

use crate::gateway::{ENFORCED, Http, OBSERVED, OTHER, Setup, TestGateway, UNENFORCED, snapshot, token};
use crate::upstream::StubUpstream;

/// Stops the gateway and gathers everything it reported, in a fixed order.
async fn reported(gateway: TestGateway) -> Vec<Count> {
    let publisher = gateway.publisher.clone();
    gateway.stop(Duration::from_secs(5)).await;
    let mut counts = Vec::new();
    while let Some(report) = publisher.next_report().await {
        assert_eq!(report.policy_version, 1);
        counts.extend(report.counts);
    }
    counts.sort_by(|one, other| {
        (&one.source, one.verdict, &one.agent).cmp(&(&other.source, other.verdict, &other.agent))
    });
    counts
}

fn count(source: usize, verdict: Verdict, reason: &str, agent: &str, requests: u64) -> Count {
    let address = if verdict == Verdict::Allow || agent.is_empty() {
        ""
    } else {
        "127.0.0.1"
    };
    Count {
        source: snapshot().sources[source].id.clone(),
        policy_version: 1,
        verdict,
        reason: reason.to_owned(),
        agent: agent.to_owned(),
        address: address.to_owned(),
        requests,
    }
}

#[tokio::test]
async fn every_verdict_on_a_source_is_reported_with_its_client() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let python = |request: Http| request.header("User-Agent: analytics-python/2.4.0 (x)");
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    gateway
        .send(&python(Http::good_batch(ENFORCED)))
        .await
        .assert_ok();
    for _ in 0..3 {
        let denied = gateway.send(&python(Http::batch(ENFORCED))).await;
        denied.assert_denied(401, "token_missing");
    }
    let of_other = Http::batch(ENFORCED).bearer(&token(OTHER));
    gateway
        .send(&of_other)
        .await
        .assert_denied(403, "app_not_connected");
    gateway.send(&python(Http::batch(OBSERVED))).await.assert_ok();
    gateway.send(&Http::good_batch(OBSERVED)).await.assert_ok();
    gateway.send(&Http::batch(UNENFORCED)).await.assert_ok();
    let unknown = Http::new("POST", "tracking.test", "/v1/batch").body(r#"{"batch":[],"writeKey":"nobody"}"#);
    gateway.send(&unknown).await.assert_denied(401, "source_unknown");
    let mut expected = vec![
        count(ENFORCED, Verdict::Allow, "", "", 2),
        count(
            ENFORCED,
            Verdict::Deny,
            "token_missing",
            "analytics-python/2.4.0",
            3,
        ),
        count(ENFORCED, Verdict::Deny, "app_not_connected", "none", 1),
        count(OBSERVED, Verdict::Allow, "", "", 1),
        count(
            OBSERVED,
            Verdict::WouldDeny,
            "token_missing",
            "analytics-python/2.4.0",
            1,
        ),
        count(UNENFORCED, Verdict::Allow, "", "", 1),
    ];
    expected.sort_by(|one, other| {
        (&one.source, one.verdict, &one.agent).cmp(&(&other.source, other.verdict, &other.agent))
    });
    assert_eq!(reported(gateway).await, expected);
}

#[tokio::test]
async fn clients_without_number_are_counted_together() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    for n in 0..40 {
        let denied = gateway
            .send(&Http::batch(ENFORCED).header(format!("User-Agent: tool-{n}/1")))
            .await;
        denied.assert_denied(401, "token_missing");
    }
    let counts = reported(gateway).await;
    let sum: u64 = counts.iter().map(|count| count.requests).sum();
    assert_eq!(sum, 40);
    assert!(counts.len() <= 2 * 17, "{} kinds of client", counts.len());
    let together = counts.iter().find(|count| count.agent.is_empty()).unwrap();
    assert!(together.requests >= 8, "{together:?}");
}
