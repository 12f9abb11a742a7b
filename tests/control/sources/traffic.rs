//! Traffic counts of sources: added up from the reports of gateways, bounded, and dropped after a day.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use portcullis::control::fleet::publish;
use portcullis::control::sources::traffic::Readiness;
use portcullis::domain::time::UnixSeconds;
use portcullis::feed::{Subscriber, feed};
use portcullis::report::{Count, Report, Verdict};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::{DEADLINE, NOW, OPERATOR, TempDir, TestControl, on_postgres};

/// A gateway that reports by hand.
pub struct Gateway {
    subscriber: Subscriber,
    publishing: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Gateway {
    pub fn attach(server: &TestControl) -> Self {
        let (publisher, subscriber) = feed();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = publish::run(
            Arc::clone(&server.control.fleet),
            Arc::clone(&server.control.traffic),
            publisher,
            async {
                let _ = stopped.await;
            },
        );
        Self {
            subscriber,
            publishing: tokio::spawn(run),
            stop,
        }
    }

    pub async fn report(&self, counts: Vec<Count>) {
        let report = Report {
            policy_version: 7,
            confirmed_at: NOW - 3,
            counts,
        };
        self.subscriber.reporter().report(report).await.unwrap();
    }

    /// Stops, once every report was taken.
    pub async fn end(self) {
        drop(self.subscriber);
        let _ = self.stop.send(());
        tokio::time::timeout(DEADLINE, self.publishing)
            .await
            .unwrap()
            .unwrap();
    }
}

fn count(source: &str, verdict: Verdict, reason: &str, agent: &str, requests: u64) -> Count {
    Count {
        source: source.to_owned(),
        policy_version: 7,
        verdict,
        reason: reason.to_owned(),
        agent: agent.to_owned(),
        address: if agent.is_empty() { "" } else { "192.0.2.7" }.to_owned(),
        requests,
    }
}

#[tokio::test]
async fn traffic_counts_add_up_by_reason_and_client() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let source = tenant.source("python").await;
    let id = source.id.as_str();
    let gateway = Gateway::attach(&server);
    let observed = |requests| {
        count(
            id,
            Verdict::WouldDeny,
            "token_missing",
            "analytics-python/2.4.0",
            requests,
        )
    };
    gateway
        .report(vec![count(id, Verdict::Allow, "", "", 10), observed(2)])
        .await;
    gateway
        .report(vec![count(id, Verdict::Allow, "", "", 5), observed(1)])
        .await;
    gateway
        .report(vec![count("src_gone", Verdict::Allow, "", "", 99)])
        .await;
    gateway.end().await;
    let traffic = server
        .control
        .traffic
        .source_traffic(&OPERATOR, &tenant.id, &source.id)
        .await
        .unwrap();
    assert_eq!(traffic.in_hour(Verdict::Allow), 15);
    assert_eq!(traffic.in_day(Verdict::WouldDeny), 3);
    assert_eq!(traffic.readiness(), Readiness::NotObserved);
    assert_eq!((traffic.judged(), traffic.unjudged), (0, 18));
    let kind = traffic
        .hour
        .iter()
        .find(|kind| kind.verdict == Verdict::WouldDeny)
        .unwrap();
    assert_eq!(
        (kind.reason.as_str(), kind.agent.as_str()),
        ("token_missing", "analytics-python/2.4.0")
    );
    let spans = server
        .control
        .traffic
        .workspace_traffic(&OPERATOR, &tenant.id)
        .await
        .unwrap();
    assert_eq!(spans.iter().map(|span| span.requests).sum::<u64>(), 18);
    let state = server.control.traffic.gateway_state().unwrap();
    assert_eq!(
        (state.policy_version, state.confirmed_at),
        (7, UnixSeconds(NOW - 3))
    );
    server.stop().await;
}

#[tokio::test]
async fn many_clients_share_a_row_and_no_count_is_lost() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let source = tenant.source("nodejs").await;
    let gateway = Gateway::attach(&server);
    for begin in [0, 60, 120] {
        let some = (begin..begin + 60).map(|n| {
            count(
                source.id.as_str(),
                Verdict::Deny,
                "token_missing",
                &format!("tool-{n}/1"),
                1,
            )
        });
        gateway.report(some.collect()).await;
    }
    gateway.end().await;
    let traffic = server
        .control
        .traffic
        .source_traffic(&OPERATOR, &tenant.id, &source.id)
        .await
        .unwrap();
    assert_eq!(traffic.in_hour(Verdict::Deny), 180);
    assert!(traffic.hour.len() <= 66, "{} rows", traffic.hour.len());
    server.stop().await;
}

/// The store was locked for longer than the time that a gateway has for its last report, and the counts were lost.
#[tokio::test]
async fn reports_that_arrived_are_stored_after_the_gateway_ended() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let source = tenant.source("nodejs").await;
    let gateway = Gateway::attach(&server);
    let mut other = dir.sql().await;
    let lock = if on_postgres() {
        "BEGIN; LOCK TABLE traffic IN EXCLUSIVE MODE"
    } else {
        "BEGIN IMMEDIATE"
    };
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    for _ in 0..3 {
        let counts = vec![count(source.id.as_str(), Verdict::Deny, "token_missing", "", 1)];
        gateway.report(counts).await;
    }
    let mut ending = pin!(gateway.end());
    let locked = tokio::time::timeout(Duration::from_millis(1_500), &mut ending).await;
    assert!(locked.is_err(), "the feed ended while its reports were waiting");
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    ending.await;
    let traffic = server
        .control
        .traffic
        .source_traffic(&OPERATOR, &tenant.id, &source.id)
        .await
        .unwrap();
    assert_eq!(traffic.in_hour(Verdict::Deny), 3);
}

#[tokio::test]
async fn traffic_counts_are_purged_after_a_day() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let source = tenant.source("http_api").await;
    let gateway = Gateway::attach(&server);
    gateway
        .report(vec![count(source.id.as_str(), Verdict::Allow, "", "", 4)])
        .await;
    gateway.end().await;
    server.clock.set(UnixSeconds(NOW + 2 * 3_600));
    let traffic = server
        .control
        .traffic
        .source_traffic(&OPERATOR, &tenant.id, &source.id)
        .await
        .unwrap();
    assert_eq!(
        (traffic.in_hour(Verdict::Allow), traffic.in_day(Verdict::Allow)),
        (0, 4)
    );
    server.clock.set(UnixSeconds(NOW + 25 * 3_600));
    let traffic = server
        .control
        .traffic
        .source_traffic(&OPERATOR, &tenant.id, &source.id)
        .await
        .unwrap();
    assert_eq!(traffic.in_day(Verdict::Allow), 0);
    let of_all = async || {
        server
            .control
            .traffic
            .workspace_traffic(&OPERATOR, &tenant.id)
            .await
            .unwrap()
    };
    assert!(of_all().await.is_empty());
    server.control.purge().await;
    let mut sql = dir.sql().await;
    for table in ["traffic", "workspace_traffic"] {
        let text = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let rows: i64 = sqlx::query_scalar(text).fetch_one(&mut sql).await.unwrap();
        assert_eq!(rows, 0, "{table}");
    }
    server.stop().await;
}
