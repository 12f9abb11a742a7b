//! The feed of a gateway: one snapshot, then each version in order, once.

use crate::support::gateway::{FRESHNESS, Gateway};
use std::sync::Arc;

use portcullis::control::{AppChange, NewSource};
use portcullis::domain::ids::{AppId, KeyId, WriteKeyDigest};
use portcullis::domain::policy::Enforcement;
use portcullis::domain::time::UnixSeconds;
use portcullis::model::source::Source;
use portcullis::snapshot;
use portcullis::snapshot::Update;

use crate::support::{DEADLINE, NOW, OPERATOR, TempDir, Tenant, TestControl, TestKey, new_app};

async fn version(server: &TestControl) -> u64 {
    server.control.fleet.snapshot().await.unwrap().version
}

/// What is left when everything that can change has changed.
struct Left {
    app: AppId,
    key: KeyId,
    source: Source,
    removed: Source,
}

/// Thirteen changes, one of each sort at least.
async fn change_everything(tenant: &Tenant<'_>) -> Left {
    let control = &tenant.server.control;
    let app = tenant.app().await;
    let (app_id, source) = (&app.details.app.id, tenant.source("http_api").await);
    control
        .sources
        .connect(&OPERATOR, &tenant.id, &source.id, app_id)
        .await
        .unwrap();
    control
        .sources
        .set_enforcement(&OPERATOR, &tenant.id, &source.id, Enforcement::On)
        .await
        .unwrap();
    control
        .sources
        .rename(&OPERATOR, &tenant.id, &source.id, "shop")
        .await
        .unwrap();
    let change = AppChange {
        name: Some("new name".to_owned()),
        ..AppChange::default()
    };
    control
        .apps
        .update(&OPERATOR, &tenant.id, app_id, change)
        .await
        .unwrap();
    let token = app.token().await;
    control
        .revocation
        .revoke_token(&OPERATOR, &tenant.id, app_id, &token)
        .await
        .unwrap();
    let second = new_app("x", &[], &TestKey::ed25519()).public_key;
    let second = control
        .apps
        .add_key(&OPERATOR, &tenant.id, app_id, &second)
        .await
        .unwrap();
    control
        .apps
        .delete_key(&OPERATOR, &tenant.id, app_id, &second.id, false)
        .await
        .unwrap();
    let gone = tenant.app().await;
    control
        .apps
        .delete(&OPERATOR, &tenant.id, &gone.details.app.id, "sender")
        .await
        .unwrap();
    let removed = tenant.source("python").await;
    control
        .sources
        .delete(&OPERATOR, &tenant.id, &removed.id)
        .await
        .unwrap();
    Left {
        key: app.details.keys[0].id.clone(),
        app: app.details.app.id,
        source,
        removed,
    }
}

#[tokio::test]
async fn changes_and_snapshot_give_the_same_policy() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let mut gateway = Gateway::attach(&server.control);
    gateway.take().await;
    let before = gateway.policy.version();

    // The gateway takes the updates while the changes are made.
    let left = tokio::select! {
        left = change_everything(&tenant) => left,
        () = async { loop { gateway.take().await } } => unreachable!(),
    };

    let snapshot = server.control.fleet.snapshot().await.unwrap();
    assert_eq!(snapshot.version, before + 13);
    assert_eq!(
        gateway.policy.version(),
        snapshot.version,
        "each call returned with its change in force"
    );
    assert_eq!(gateway.snapshots, 1);
    let whole = snapshot::compile(&snapshot, &[], FRESHNESS).unwrap();
    for policy in [&gateway.policy, &whole] {
        let held = policy.source(&left.source.write_key.digest()).unwrap();
        assert_eq!(
            (held.enforcement, held.connected_app.as_ref()),
            (Enforcement::On, Some(&left.app))
        );
        assert!(policy.source(&left.removed.write_key.digest()).is_none());
        assert!(policy.source(&WriteKeyDigest::of(b"unknown")).is_none());
        assert!(
            policy
                .app(&left.app)
                .unwrap()
                .keys
                .iter()
                .flatten()
                .eq([&left.key])
        );
        assert_eq!((policy.revocations(), policy.issuers().len()), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_changes_have_versions_without_gaps() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let mut gateway = Gateway::attach(&server.control);
    gateway.take().await;
    let before = gateway.policy.version();
    let changes = (0..60).map(|at| {
        let (control, workspace) = (Arc::clone(&server.control), tenant.id.clone());
        tokio::spawn(async move {
            let new = NewSource {
                name: format!("source {at}"),
                kind: "python".to_owned(),
                write_key: None,
            };
            control
                .sources
                .create(&OPERATOR, &workspace, new)
                .await
                .unwrap()
                .write_key
                .digest()
        })
    });
    let changes: Vec<_> = changes.collect();
    // `take` applies each change to the version before it; a gap would be an error there.
    gateway.reach(before + 60).await;
    for change in changes {
        let digest = tokio::time::timeout(DEADLINE, change).await.unwrap().unwrap();
        assert!(gateway.policy.source(&digest).is_some());
    }
    assert_eq!((version(&server).await, gateway.snapshots), (before + 60, 1));
}

#[tokio::test]
async fn gateway_with_unknown_version_gets_a_snapshot() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let mut gateway = Gateway::attach(&server.control);
    gateway.take().await;
    gateway.subscriber.want_snapshot("a test asks".to_owned());
    while gateway.snapshots < 2 {
        gateway.take().await;
    }
    assert_eq!(gateway.policy.version(), version(&server).await);
}

#[tokio::test]
async fn unchanged_policy_is_confirmed_as_current() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let mut gateway = Gateway::attach(&server.control);
    gateway.take().await;
    server.clock.set(UnixSeconds(NOW + 5));
    match tokio::time::timeout(DEADLINE, gateway.subscriber.next())
        .await
        .unwrap()
        .unwrap()
    {
        Update::Confirmed { version, at } => {
            assert_eq!((version, at), (gateway.policy.version(), NOW + 5));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn unconfirmed_change_is_stored_and_not_in_force() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let mut gateway = Gateway::attach(&server.control);
    gateway.take().await;
    // The gateway is there but takes nothing more.
    let answer = tenant
        .call(
            "POST",
            "/sources",
            Some(serde_json::json!({"name": "web", "kind": "python"})),
        )
        .await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (503, "not-yet-in-force")
    );
    let listed = tenant.call("GET", "/sources", None).await.json();
    assert_eq!(
        listed["items"].as_array().unwrap().len(),
        1,
        "the change is stored, as the answer says"
    );
    gateway.reach(version(&server).await).await;
}

#[tokio::test]
async fn change_without_a_gateway_does_not_wait() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let gateway = Gateway::attach(&server.control);
    gateway.stop.send(()).unwrap();
    tokio::time::timeout(DEADLINE, gateway.publishing)
        .await
        .unwrap()
        .unwrap();
    tenant.source("http_api").await;
}

#[tokio::test]
async fn trimmed_feed_leads_to_a_snapshot() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let mut gateway = Gateway::attach(&server.control);
    gateway.take().await;
    // As after a long absence: the versions in between have been dropped. Nobody announces it, so the change
    // is found by looking.
    let mut connection = dir.sql().await;
    sqlx::query("UPDATE policy_version SET version = version + 5")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query("INSERT INTO policy_changes SELECT version, '[]', 0, '' FROM policy_version")
        .execute(&mut connection)
        .await
        .unwrap();
    let wanted = version(&server).await;
    gateway.reach(wanted).await;
    assert_eq!((gateway.policy.version(), gateway.snapshots), (wanted, 2));
}
