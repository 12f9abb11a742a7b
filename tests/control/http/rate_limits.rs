//! Rate limits of the token endpoint and the management API.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use portcullis::config::{ControlLimits, Rate};
use portcullis::domain::network::Network;
use portcullis::domain::time::UnixSeconds;
use serde_json::json;

use crate::support::{Answer, DEADLINE, NOW, TempDir, TestControl, TestKey, form, on_postgres};

const SCOPE: &str = "tracking_api:write";

/// As few as may be configured, so that a test need not sign a thousand assertions.
fn tight() -> ControlLimits {
    let rate = Rate {
        burst: 16,
        per_second: 1,
    };
    ControlLimits {
        token_app: rate,
        token_address: rate,
        api_account: rate,
        api_address: rate,
        ..ControlLimits::default()
    }
}

async fn server(dir: &TempDir) -> TestControl {
    TestControl::start_with(dir, |settings| {
        settings.limits = tight();
        settings.trusted_proxies = vec![Network::parse("127.0.0.0/8").unwrap()];
    })
    .await
}

/// Checks everything that one SDK or another needs of the answer, and says how long it asks to wait.
#[track_caller]
fn told_to_wait(answer: &Answer) -> u64 {
    assert_eq!(answer.status, 429, "{answer:?}");
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(answer.header("x-ratelimit-reset"), answer.header("retry-after"));
    assert!(answer.header("date").is_some());
    seconds
}

#[track_caller]
fn token_told_to_wait(answer: &Answer) {
    told_to_wait(answer);
    let body = answer.json();
    assert!(
        body["error"].is_string() && body["error_description"].is_string(),
        "{body}"
    );
}

async fn ask_from(server: &TestControl, from: &str, assertion: &str) -> Answer {
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("X-Forwarded-For", from),
    ];
    server
        .send("POST", "/token", &headers, form(assertion, SCOPE).as_bytes())
        .await
}

#[tokio::test]
async fn rate_limit_allows_a_burst_then_says_retry_after() {
    let dir = TempDir::new();
    let server = server(&dir).await;
    let tenant = server.workspace().await;
    let (app, other) = (tenant.app().await, tenant.app().await);

    let assertions: Vec<String> = (0..16).map(|_| app.assertion()).collect();
    let answers = futures::future::join_all(assertions.iter().map(|one| server.ask(one, SCOPE))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");

    let held_back = app.assertion();
    token_told_to_wait(&server.ask(&held_back, SCOPE).await);
    assert_eq!(server.ask(&other.assertion(), SCOPE).await.status, 200);

    // An assertion that was told to wait is not used up, and after the wait it is good.
    server.clock.set(UnixSeconds(NOW + 1));
    assert_eq!(server.ask(&held_back, SCOPE).await.status, 200);
}

#[tokio::test]
async fn unauthenticated_requests_use_up_no_apps_limit() {
    let dir = TempDir::new();
    let server = server(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let copied = app.assertion();
    assert_eq!(server.ask(&copied, SCOPE).await.status, 200);
    let stranger = TestKey::p256();

    for _ in 0..20 {
        let forged = stranger.sign(&app.header(), &app.claims());
        let expired = app.assertion_with("exp", json!(NOW - 100));
        for assertion in [&forged, &copied, &expired] {
            let answer = ask_from(&server, "198.51.100.1", assertion).await;
            assert!([400, 401, 429].contains(&answer.status), "{answer:?}");
        }
    }

    token_told_to_wait(&ask_from(&server, "198.51.100.1", &copied).await);
    // The app itself is let through, even from the stranger's address; one of its sixteen is used.
    for _ in 0..15 {
        let answer = ask_from(&server, "198.51.100.1", &app.assertion()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    token_told_to_wait(&server.ask(&app.assertion(), SCOPE).await);
}

#[tokio::test]
async fn client_with_wrong_clock_is_rate_limited() {
    let dir = TempDir::new();
    let server = server(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let late = || app.assertion_with("exp", json!(NOW - 100));
    for _ in 0..16 {
        let answer = server.ask(&late(), SCOPE).await;
        assert_eq!(answer.json()["error_description"], "Token is expired");
        assert!(answer.header("date").is_some(), "the SDKs learn the time from it");
    }
    token_told_to_wait(&server.ask(&late(), SCOPE).await);
}

#[tokio::test]
async fn rate_limit_counts_the_client_network() {
    let dir = TempDir::new();
    let server = server(&dir).await;
    for host in 0..16 {
        let from = format!("2001:db8:0:1::{host:x}");
        assert_eq!(ask_from(&server, &from, "x").await.status, 401);
    }
    token_told_to_wait(&ask_from(&server, "2001:db8:0:1:ffff::1", "x").await);
    assert_eq!(ask_from(&server, "2001:db8:0:2::1", "x").await.status, 401);
    server.stop().await;

    let server = TestControl::start_with(&dir, |settings| settings.limits = tight()).await;
    for host in 0..16 {
        assert_eq!(
            ask_from(&server, &format!("198.51.100.{host}"), "x").await.status,
            401
        );
    }
    token_told_to_wait(&ask_from(&server, "198.51.100.99", "x").await);
}

#[tokio::test]
async fn management_api_is_limited_by_person_and_address() {
    let dir = TempDir::new();
    let server = server(&dir).await;
    let tenant = server.workspace().await;

    for _ in 0..16 {
        let answer = tenant.call_as("pcl_wrong", "GET", "/apps", None).await;
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    let answer = tenant.call_as("pcl_wrong", "GET", "/apps", None).await;
    told_to_wait(&answer);
    assert_eq!(answer.problem(), "too-many-requests");

    // Good credentials are good from the same address.
    for _ in 0..16 {
        assert_eq!(tenant.call("GET", "/apps", None).await.status, 200);
    }
    let answer = tenant.call("GET", "/apps", None).await;
    told_to_wait(&answer);
    assert_eq!(answer.problem(), "too-many-requests");
    server.clock.set(UnixSeconds(NOW + 2));
    assert_eq!(tenant.call("GET", "/apps", None).await.status, 200);
}

#[tokio::test]
async fn unknown_apps_do_not_exhaust_the_store() {
    if !on_postgres() {
        // A reader of SQLite waits for nobody.
        return;
    }
    let dir = TempDir::new();
    let server = server(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let forged = || TestKey::p256().sign(&app.header(), &app.claims());
    for _ in 0..16 {
        assert_eq!(server.ask(&forged(), SCOPE).await.status, 401);
    }
    // Whoever looks an app up waits now.
    let mut sql = dir.sql().await;
    let lock = "BEGIN; LOCK TABLE apps IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut sql).await.unwrap();
    let asked = (0..12).map(async |at| {
        let mut claims = app.claims();
        claims["iss"] = json!(format!("app_{at}"));
        claims["sub"] = claims["iss"].clone();
        server
            .ask(&TestKey::p256().sign(&app.header(), &claims), SCOPE)
            .await
    });
    let mut flood: FuturesUnordered<_> = asked.collect();
    // One waits for the lock, and the others do not wait for it.
    for _ in 0..11 {
        let answer = tokio::time::timeout(DEADLINE, flood.next()).await.unwrap();
        token_told_to_wait(&answer.unwrap());
    }
    assert_eq!(tenant.call("GET", "/members", None).await.status, 200);
    sqlx::raw_sql("COMMIT").execute(&mut sql).await.unwrap();
    let last = tokio::time::timeout(DEADLINE, flood.next()).await.unwrap();
    token_told_to_wait(&last.unwrap());
}
