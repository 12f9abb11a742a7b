//! Several control planes on one `PostgreSQL` database.
//!
//! A `SQLite` store has one process, so these tests do nothing there.

use std::time::Duration;

use portcullis::control::AppChange;

use crate::support::gateway::Gateway;
use crate::support::{OPERATOR, TempDir, TestControl, form, on_postgres, open};

#[tokio::test]
async fn assertion_is_accepted_once_among_control_planes() {
    if !on_postgres() {
        return;
    }
    let dir = TempDir::new();
    let one = TestControl::start(&dir).await;
    let other = TestControl::start(&dir).await;
    let tenant = one.workspace().await;
    let app = tenant.app().await;
    for (first, second) in [(&one, &other), (&other, &one)] {
        let form = form(&app.assertion(), "");
        assert_eq!(first.post_token("/token", &form).await.status, 200);
        let again = second.post_token("/token", &form).await;
        assert_eq!(
            (again.status, again.json()["error"].as_str()),
            (401, Some("invalid_client"))
        );
    }
    // At the same moment: one of them, whichever.
    for _ in 0..8 {
        let form = form(&app.assertion(), "");
        let (a, b) = tokio::join!(one.post_token("/token", &form), other.post_token("/token", &form));
        let mut statuses = [a.status, b.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401]);
    }
}

#[tokio::test]
async fn change_at_one_control_plane_holds_at_the_other() {
    if !on_postgres() {
        return;
    }
    let dir = TempDir::new();
    let one = TestControl::start(&dir).await;
    let other = TestControl::start(&dir).await;
    let tenant = one.workspace().await;
    let app = tenant.app().await;
    // Both have seen the app and keep it.
    for server in [&one, &other] {
        let answer = server.ask(&app.assertion(), "tracking_api:write").await;
        assert_eq!(answer.status, 200);
    }
    let change = AppChange {
        scopes: Some(vec!["functions:write".to_owned()]),
        ..AppChange::default()
    };
    let id = &app.details.app.id;
    one.control
        .apps
        .update(&OPERATOR, &tenant.id, id, change)
        .await
        .unwrap();
    // At once, and not when a notice has arrived.
    let answer = other.ask(&app.assertion(), "tracking_api:write").await;
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (400, Some("invalid_scope"))
    );
}

#[tokio::test]
async fn gateway_gets_changes_of_another_control_plane() {
    if !on_postgres() {
        return;
    }
    let dir = TempDir::new();
    let one = TestControl::start(&dir).await;
    let other = TestControl::start(&dir).await;
    let tenant = one.workspace().await;
    let mut gateway = Gateway::attach(&other.control);
    gateway.take().await;
    // Looking for changes every second would take these twenty seconds.
    let heard = async {
        for _ in 0..20 {
            let digest = tenant.source("python").await.write_key.digest();
            while gateway.policy.source(&digest).is_none() {
                gateway.take().await;
            }
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(12), heard).await.is_ok());
}

#[tokio::test]
async fn concurrent_starts_migrate_once() {
    if !on_postgres() {
        return;
    }
    let dir = TempDir::new();
    let store = dir.store();
    let (one, other, third) = tokio::join!(open(store.clone()), open(store.clone()), open(store));
    for control in [one, other, third] {
        control.unwrap().close().await;
    }
    let mut connection = dir.sql().await;
    let (steps, different): (i64, i64) =
        sqlx::query_as("SELECT count(*), count(DISTINCT version) FROM _sqlx_migrations")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(steps, different);
}
