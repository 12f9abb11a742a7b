//! Verification of the audit trail: edited, removed and inserted events are found.

use super::events::{events, some_events};
use portcullis::control::{ExpectedTrail, TrailAge, TrailReport, verify_trail};
use portcullis::domain::time::UnixSeconds;
use portcullis::store::Store;
use serde_json::json;

use crate::support::{DEADLINE, NOW, OPERATOR, TRAIL_AGE, TempDir, TestControl};

async fn verified(dir: &TempDir) -> TrailReport {
    expecting(dir, None, NOW).await
}

/// What a check at this moment says, given what was noted down earlier.
async fn expecting(dir: &TempDir, noted: Option<&ExpectedTrail>, now: u64) -> TrailReport {
    let store = Store::open_to_read(&dir.store()).await.unwrap();
    let age = TrailAge {
        now: UnixSeconds(now),
        ..TRAIL_AGE
    };
    let report = verify_trail(&store, noted, &age).await.unwrap();
    store.close().await;
    report
}

/// What somebody with access to the database may do to six events, and what is said of it.
fn tamperings() -> Vec<(String, &'static str)> {
    let columns = [
        "id",
        "workspace",
        "at",
        "action",
        "actor_type",
        "actor_id",
        "actor_name",
        "address",
        "resource_type",
        "resource_id",
        "resource_name",
        "changed_from",
        "changed_to",
        "hash",
    ];
    let edits = columns.map(|column| {
        let value = match column {
            "at" => "1".to_owned(),
            "hash" => format!("'{}'", "x".repeat(43)),
            _ => "'other'".to_owned(),
        };
        (
            format!("UPDATE audit_events SET {column} = {value} WHERE position = 3"),
            "event 3 (",
        )
    });
    let others = [
        (
            "DELETE FROM audit_events WHERE position = 3",
            "event 3 is missing: it was removed",
        ),
        (
            "DELETE FROM audit_events WHERE position IN (3, 4)",
            "events 3 to 4 are missing",
        ),
        (
            "DELETE FROM audit_events WHERE position = 7",
            "its end was removed",
        ),
        (
            "DELETE FROM audit_events WHERE position = 1",
            "event 1 is missing",
        ),
        ("DELETE FROM audit_events", "its end was removed"),
        (
            "UPDATE audit_events SET position = -position WHERE position IN (3, 4); \
             UPDATE audit_events SET position = CASE position WHEN -3 THEN 4 ELSE 3 END WHERE position < 0",
            "event 3 (",
        ),
        (
            "INSERT INTO audit_events SELECT 8, 'evt_new', workspace, at, action, actor_type, actor_id, actor_name, \
             address, resource_type, resource_id, resource_name, changed_from, changed_to, hash \
             FROM audit_events WHERE position = 7",
            "the events after it, up to event 8, were added",
        ),
        (
            "INSERT INTO audit_events SELECT 0, 'evt_new', workspace, at, action, actor_type, actor_id, actor_name, \
             address, resource_type, resource_id, resource_name, changed_from, changed_to, hash \
             FROM audit_events WHERE position = 7",
            "event 0 is before the beginning of the trail",
        ),
    ];
    let others = others.map(|(text, said)| (text.to_owned(), said));
    edits.into_iter().chain(others).collect()
}

#[tokio::test]
async fn tampering_with_the_trail_is_detected() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    some_events(&tenant).await;
    // It is checked while the server runs.
    let whole = verified(&dir).await;
    assert_eq!((whole.events, whole.end.position), (7, 7));
    assert!(whole.faults.is_empty(), "{:?}", whole.faults);
    for (text, said) in tamperings() {
        let mut store = dir.sql().await;
        let keep = "CREATE TABLE kept AS SELECT * FROM audit_events";
        sqlx::raw_sql(keep).execute(&mut store).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(text.clone()))
            .execute(&mut store)
            .await
            .unwrap();
        let faults = verified(&dir).await.faults;
        // The row that was changed is named; a new hash shows at the row after it, too.
        assert!(
            faults.iter().any(|fault| fault.contains(said)),
            "{text}: {faults:?}"
        );
        let restore =
            "DELETE FROM audit_events; INSERT INTO audit_events SELECT * FROM kept; DROP TABLE kept";
        sqlx::raw_sql(restore).execute(&mut store).await.unwrap();
    }
    assert!(verified(&dir).await.faults.is_empty());
}

#[tokio::test]
async fn rewritten_trail_differs_from_the_expected_one() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    some_events(&tenant).await;
    let noted = verified(&dir).await.to_expect.unwrap();
    some_events(&tenant).await;
    assert!(expecting(&dir, Some(&noted), NOW).await.faults.is_empty());
    let mut other = noted.clone();
    other.last.place.hash = "x".repeat(43);
    let faults = expecting(&dir, Some(&other), NOW).await.faults;
    assert!(
        faults[0].contains("event 7 does not have the expected hash"),
        "{faults:?}"
    );
}

/// What somebody with access to the database may delete of seven events, the chain put right behind it, and what a check
/// says that is given the text noted down before, in the form of today and in the older one.
const DELETIONS: [(&str, &str, &str, &str); 6] = [
    (
        "from the front, up to the last",
        "UPDATE audit_chain SET dropped_position = 6, dropped_hash = \
         (SELECT hash FROM audit_events WHERE position = 6); DELETE FROM audit_events WHERE position < 7",
        "event 1 is missing, and is younger than the retention of 90 days",
        "the events up to 6 are missing, and no event records",
    ),
    (
        "from the front",
        "UPDATE audit_chain SET dropped_position = 1, dropped_hash = \
         (SELECT hash FROM audit_events WHERE position = 1); DELETE FROM audit_events WHERE position = 1",
        "event 1 is missing, and is younger than the retention of 90 days",
        "the events up to 1 are missing, and no event records",
    ),
    (
        "from the middle",
        "DELETE FROM audit_events WHERE position IN (3, 4)",
        "events 3 to 4 are missing",
        "events 3 to 4 are missing",
    ),
    (
        "from the end",
        "DELETE FROM audit_events WHERE position > 5; UPDATE audit_chain SET newest_position = 5, \
         newest_hash = (SELECT hash FROM audit_events WHERE position = 5)",
        "event 7 does not have the expected hash",
        "event 7 does not have the expected hash",
    ),
    (
        "all, as if they had been dropped",
        "UPDATE audit_chain SET dropped_position = newest_position, dropped_hash = newest_hash; \
         DELETE FROM audit_events",
        "event 7 is missing, and is younger than the retention of 90 days",
        "the events up to 7 are missing, and no event records",
    ),
    (
        "all, as if there had been none",
        "UPDATE audit_chain SET newest_position = 0, newest_hash = ''; DELETE FROM audit_events",
        "event 7 does not have the expected hash",
        "event 7 does not have the expected hash",
    ),
];

#[tokio::test]
async fn deleted_events_are_detected_with_expect() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    some_events(&server.workspace().await).await;
    let noted = verified(&dir).await.to_expect.unwrap();
    let text = noted.to_string();
    assert!(text.starts_with("1:") && text.ends_with("/7"), "{text}");
    assert_eq!(text.parse(), Ok(noted.clone()));
    let older: ExpectedTrail = format!("7:{}", noted.last.place.hash).parse().unwrap();
    let mut store = dir.sql().await;
    let keep = "CREATE TABLE kept AS SELECT * FROM audit_events; CREATE TABLE kept_chain AS SELECT * FROM audit_chain";
    sqlx::raw_sql(keep).execute(&mut store).await.unwrap();
    for (what, deletion, said, said_of_older) in DELETIONS {
        sqlx::raw_sql(deletion).execute(&mut store).await.unwrap();
        for (noted, said) in [(&noted, said), (&older, said_of_older)] {
            let faults = expecting(&dir, Some(noted), NOW).await.faults;
            assert!(
                faults.iter().any(|fault| fault.contains(said)),
                "{what}: {faults:?}"
            );
        }
        let restore = "DELETE FROM audit_events; INSERT INTO audit_events SELECT * FROM kept; \
             DELETE FROM audit_chain; INSERT INTO audit_chain SELECT * FROM kept_chain";
        sqlx::raw_sql(restore).execute(&mut store).await.unwrap();
    }
    for noted in [&noted, &older] {
        assert!(expecting(&dir, Some(noted), NOW).await.faults.is_empty());
    }
    for bad in [
        "7",
        "x:hash",
        "1:a@1..7:b@2",
        "1:a@1..7:b@2/6",
        "7:a@1..1:b@2/-5",
        "1:a@x..7:b@2/7",
    ] {
        bad.parse::<ExpectedTrail>().unwrap_err();
    }
}

#[tokio::test]
async fn replaced_trail_is_detected_with_expect() {
    // Another store's trail is one that fits in itself, as somebody who knows the hashes can write it.
    let (dir, other) = (TempDir::new(), TempDir::new());
    let (server, elsewhere) = (TestControl::start(&dir).await, TestControl::start(&other).await);
    some_events(&server.workspace().await).await;
    some_events(&elsewhere.workspace().await).await;
    let noted = verified(&dir).await.to_expect.unwrap();
    assert!(verified(&other).await.faults.is_empty());
    let faults = expecting(&other, Some(&noted), NOW).await.faults;
    assert!(
        faults[0].contains("is not the expected first event")
            && faults[1].contains("event 7 does not have the expected hash"),
        "{faults:?}"
    );
}

#[tokio::test]
async fn unrecorded_drops_are_recorded_once() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    some_events(&server.workspace().await).await;
    server.stop().await;
    // An earlier version dropped three events, and told nobody.
    let dropped = "UPDATE audit_chain SET drops_recorded = 0, dropped_position = 3, \
         dropped_hash = (SELECT hash FROM audit_events WHERE position = 3); \
         DELETE FROM audit_events WHERE position <= 3";
    sqlx::raw_sql(dropped)
        .execute(&mut dir.sql().await)
        .await
        .unwrap();
    assert_eq!(verified(&dir).await.faults.len(), 1);
    for _ in 0..2 {
        TestControl::start(&dir).await.stop().await;
        let report = verified(&dir).await;
        assert!(report.faults.is_empty(), "{:?}", report.faults);
        assert_eq!(report.end.position, 8);
    }
}

#[tokio::test]
async fn old_events_are_dropped_and_the_chain_verifies() {
    let dir = TempDir::new();
    // Signing keys are rotated meanwhile otherwise, which would be an event, too.
    let server =
        TestControl::start_with(&dir, |settings| settings.signing.rotate_every_s = 1_000 * 86_400).await;
    let tenant = server.workspace().await;
    some_events(&tenant).await;
    server.clock.set(UnixSeconds(NOW + 60 * 86_400));
    let source = tenant.source("python").await;
    let noted = verified(&dir).await.to_expect.unwrap();
    // Once a day, so that the trail does not tell of each event that it loses.
    server.clock.set(UnixSeconds(NOW + 91 * 86_400));
    server.control.purge().await;
    assert_eq!(events(&dir).await.len(), 8);
    server.clock.set(UnixSeconds(NOW + 92 * 86_400));
    let left = async {
        while events(&dir).await.len() > 2 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, left).await.unwrap();
    let report = expecting(&dir, Some(&noted), NOW + 92 * 86_400).await;
    assert_eq!(
        (report.events, report.begin.position, report.end.position),
        (2, 7, 9)
    );
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    let told = &events(&dir).await[1];
    assert_eq!(told.0, "audit.events_dropped");
    assert_eq!((&told.4["position"], &told.4["events"]), (&json!(7), &json!(7)));
    assert_eq!(told.4["hash"], report.begin.hash);
    // The same to somebody whose clock or config says that they were too young for it.
    let early = expecting(&dir, Some(&noted), NOW + 80 * 86_400).await.faults;
    assert!(
        early[0].contains("event 1 is missing, and is younger"),
        "{early:?}"
    );
    // What comes next goes on from there, and dropping more than was due is found.
    server
        .control
        .sources
        .rename(&OPERATOR, &tenant.id, &source.id, "other")
        .await
        .unwrap();
    assert!(verified(&dir).await.faults.is_empty());
    let mut store = dir.sql().await;
    sqlx::raw_sql("DELETE FROM audit_events WHERE position = 8")
        .execute(&mut store)
        .await
        .unwrap();
    assert_eq!(verified(&dir).await.faults.len(), 1);
}
