//! Reads of an app for token requests: a burst shares one, and sees every change that was made before it.

use futures::future::join_all;
use portcullis::control::AppChange;

use crate::support::{OPERATOR, TempDir, TestApp, TestControl};

const BURST: usize = 64;

fn reads(registry: &prometheus::Registry) -> u64 {
    let families = registry.gather();
    let family = families
        .iter()
        .find(|family| family.name() == "portcullis_client_reads_total");
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small count"
    )]
    let count = family.unwrap().get_metric()[0].get_counter().get_value() as u64;
    count
}

async fn burst(app: &TestApp<'_>) -> Vec<String> {
    let assertions: Vec<String> = (0..BURST).map(|_| app.assertion()).collect();
    let answers = join_all(assertions.iter().map(|assertion| app.server.ask(assertion, ""))).await;
    answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.json()["scope"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn burst_of_token_requests_reads_the_app_once() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let registry = prometheus::Registry::new();
    server.control.register_metrics(&registry).unwrap();
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    assert_eq!(reads(&registry), 0);
    burst(&app).await;
    assert_eq!(reads(&registry), 1);
    burst(&app).await;
    assert_eq!(reads(&registry), 1, "nothing changed");
    for (round, scopes) in [
        vec!["functions:write"],
        vec!["tracking_api:write"],
        vec!["functions:write", "tracking_api:write"],
    ]
    .into_iter()
    .enumerate()
    {
        let change = AppChange {
            scopes: Some(scopes.iter().map(|scope| (*scope).to_owned()).collect()),
            ..AppChange::default()
        };
        let (workspace, id) = (&tenant.id, &app.details.app.id);
        let changed = server.control.apps.update(&OPERATOR, workspace, id, change);
        changed.await.unwrap();
        let expected = scopes.join(" ");
        assert!(burst(&app).await.iter().all(|scope| *scope == expected));
        assert_eq!(reads(&registry), 2 + round as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn unknown_app_is_read_for_each_request() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let registry = prometheus::Registry::new();
    server.control.register_metrics(&registry).unwrap();
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let mut claims = app.claims();
    claims["sub"] = "app_00000000000000000000000000000000".into();
    let assertion = app.key.sign(&app.header(), &claims);
    for answer in join_all((0..16).map(|_| server.ask(&assertion, ""))).await {
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    assert_eq!(reads(&registry), 16);
    // A request that fails for an app in the cache takes a read as well.
    app.token().await;
    assert_eq!(reads(&registry), 17);
    let forged = crate::support::TestKey::p256().sign(&app.header(), &app.claims());
    assert_eq!(server.ask(&forged, "").await.status, 401);
    assert_eq!(reads(&registry), 18);
}
