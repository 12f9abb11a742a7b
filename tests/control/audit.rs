//! The audit trail: one event for each change, in the change's own transaction.

use portcullis::control::{AppChange, ExpectedTrail, TrailAge, TrailReport, verify_trail};
use portcullis::domain::policy::Enforcement;
use portcullis::domain::time::UnixSeconds;
use portcullis::store::Store;
use serde_json::{Value, json};
use sqlx::Row as _;

use super::support::{DEADLINE, NOW, OPERATOR, TRAIL_AGE, TempDir, Tenant, TestControl, TestKey, new_app};

/// Action, actor's name, resource's name, what was there before and after, in the order of the trail.
async fn events(dir: &TempDir) -> Vec<(String, String, String, Value, Value)> {
    let mut connection = dir.sql().await;
    let rows = sqlx::query("SELECT * FROM audit_events ORDER BY position")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let json = |text: Option<String>| text.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
    rows.iter()
        .map(|row| {
            (
                row.get("action"),
                row.get("actor_name"),
                row.get("resource_name"),
                json(row.get("changed_from")),
                json(row.get("changed_to")),
            )
        })
        .collect()
}

#[tokio::test]
async fn every_change_leaves_one_event_that_says_what_changed() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let begun = events(&dir).await.len();
    let app = tenant.app().await;
    let id = &app.details.app.id;
    let source = tenant.source("http_api").await;
    let control = &server.control;
    control
        .sources
        .connect(&OPERATOR, &tenant.id, &source.id, id)
        .await
        .unwrap();
    control
        .sources
        .set_enforcement(&OPERATOR, &tenant.id, &source.id, Enforcement::On)
        .await
        .unwrap();
    let change = AppChange {
        name: Some("renamed".to_owned()),
        ..AppChange::default()
    };
    control
        .apps
        .update(&OPERATOR, &tenant.id, id, change)
        .await
        .unwrap();
    let found = events(&dir).await.split_off(begun);
    let actions: Vec<&str> = found.iter().map(|event| event.0.as_str()).collect();
    assert_eq!(
        actions,
        [
            "app.created",
            "source.created",
            "source.connected",
            "source.enforcement_changed",
            "app.changed"
        ]
    );
    assert!(found.iter().all(|event| event.1 == "tests"));
    assert_eq!(
        found[2].3,
        json!({"app_id": null}),
        "only what changed is in the event"
    );
    assert_eq!(found[2].4, json!({"app_id": id.as_str()}));
    assert_eq!(
        (&found[4].2, &found[4].3, &found[4].4),
        (
            &"renamed".to_owned(),
            &json!({"name": "sender"}),
            &json!({"name": "renamed"})
        )
    );
    let written = format!("{found:?}");
    for secret in [source.write_key.expose(), app.key.public_pem.as_str()] {
        assert!(!written.contains(secret), "{written}");
    }
    assert!(written.contains(&app.details.keys[0].thumbprint));
}

#[tokio::test]
async fn refused_change_leaves_no_event() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let source = tenant.source("http_api").await;
    let before = (
        events(&dir).await.len(),
        server.control.fleet.snapshot().await.unwrap().version,
    );
    let control = &server.control;
    let refused = control
        .sources
        .set_enforcement(&OPERATOR, &tenant.id, &source.id, Enforcement::On);
    refused.await.unwrap_err();
    let refused = control
        .apps
        .create(&OPERATOR, &tenant.id, new_app("x", &["other"], &TestKey::p256()));
    refused.await.unwrap_err();
    let after = (
        events(&dir).await.len(),
        server.control.fleet.snapshot().await.unwrap().version,
    );
    assert_eq!(before, after);
}

/// Some events of one workspace: it, its owner, their token, and three sources.
async fn some_events(tenant: &Tenant<'_>) {
    for name in ["=1+1", "two", "three"] {
        let body = json!({"name": name, "kind": "python"});
        assert_eq!(tenant.call("POST", "/sources", Some(body)).await.status, 201);
    }
}

fn items(page: &Value) -> Vec<Value> {
    page["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn owner_reads_the_trail_by_page_by_filter_and_whole() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (tenant, other) = (server.workspace().await, server.workspace().await);
    some_events(&tenant).await;
    some_events(&other).await;
    let get = async |query: &str| tenant.call("GET", &format!("/audit-events{query}"), None).await;
    let all = items(&get("").await.json());
    let actions: Vec<&str> = all
        .iter()
        .map(|event| event["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "source.created",
            "source.created",
            "source.created",
            "api_token.created",
            "member.added",
            "workspace.created"
        ],
        "the newest first, and nobody else's"
    );
    let newest = &all[0];
    assert_eq!(newest["resource"]["name"], "three");
    assert_eq!(newest["actor"]["type"], "member");
    assert_eq!(newest["actor"]["address"], "127.0.0.1");
    assert_eq!(newest["after"]["kind"], "python");
    let me = newest["actor"]["name"].as_str().unwrap();

    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(&format!("?limit=2&after={after}")).await.json();
        paged.extend(items(&page));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(paged, all);

    let source = newest["resource"]["id"].as_str().unwrap();
    let id = newest["actor"]["id"].as_str().unwrap();
    let at = newest["at"].as_str().unwrap();
    for (query, count) in [
        ("?action=source.created".to_owned(), 3),
        (format!("?actor={id}"), 3),
        (format!("?actor={me}&action=source.created"), 3),
        ("?actor=tests".to_owned(), 3),
        (format!("?resource_type=source&resource_id={source}"), 1),
        (format!("?since={at}"), 6),
        (format!("?until={at}"), 0),
        ("?action=nothing".to_owned(), 0),
    ] {
        assert_eq!(items(&get(&query).await.json()).len(), count, "{query}");
    }
    for (query, field) in [
        ("?since=yesterday", "since"),
        ("?limit=0", "limit"),
        ("?who=me", "who"),
    ] {
        let refused = get(query).await;
        assert_eq!(
            (refused.status, refused.json()["field"].clone()),
            (422, json!(field))
        );
    }
}

#[tokio::test]
async fn owner_takes_the_trail_away_in_two_forms() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    some_events(&tenant).await;
    let get = async |query: &str| tenant.call("GET", &format!("/audit-events{query}"), None).await;
    let all = items(&get("").await.json());
    let lines = get("/export?format=ndjson").await;
    let lines: Vec<Value> = lines
        .text()
        .lines()
        // It comes in chunks, whose sizes stand between.
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, all);
    let table = get("/export?format=csv&action=source.created").await.text();
    let rows = table.lines().filter(|line| line.starts_with("\"evt_"));
    assert_eq!(rows.count(), 3);
    assert!(
        table.contains("\"'=1+1\""),
        "no spreadsheet takes it for a formula: {table}"
    );
    assert_eq!(get("/export?format=xml").await.status, 422);
}

#[tokio::test]
async fn long_export_is_whole_and_in_order() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let source = tenant.source("python").await;
    for at in 0..510 {
        let name = format!("name {at}");
        let renamed = server
            .control
            .sources
            .rename(&OPERATOR, &tenant.id, &source.id, &name);
        renamed.await.unwrap();
    }
    let answer = tenant
        .call(
            "GET",
            "/audit-events/export?format=csv&action=source.renamed",
            None,
        )
        .await;
    let text = answer.text();
    let found = (0..510).rev().all(|at| text.contains(&format!("\"name {at}\"")));
    assert!(found && text.matches("source.renamed").count() == 510);
}

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
async fn whoever_changes_the_trail_is_found_out() {
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
async fn past_that_was_rewritten_whole_is_told_from_the_one_noted_down() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    some_events(&tenant).await;
    let noted = verified(&dir).await.noted.unwrap();
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
async fn deleted_events_are_found_by_what_was_noted_down() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    some_events(&server.workspace().await).await;
    let noted = verified(&dir).await.noted.unwrap();
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
async fn rewritten_trail_is_found_by_what_was_noted_down() {
    // Another store's trail is one that fits in itself, as somebody who knows the hashes can write it.
    let (dir, other) = (TempDir::new(), TempDir::new());
    let (server, elsewhere) = (TestControl::start(&dir).await, TestControl::start(&other).await);
    some_events(&server.workspace().await).await;
    some_events(&elsewhere.workspace().await).await;
    let noted = verified(&dir).await.noted.unwrap();
    assert!(verified(&other).await.faults.is_empty());
    let faults = expecting(&other, Some(&noted), NOW).await.faults;
    assert!(
        faults[0].contains("is not the expected first event")
            && faults[1].contains("event 7 does not have the expected hash"),
        "{faults:?}"
    );
}

#[tokio::test]
async fn drops_of_an_earlier_version_are_recorded_once() {
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
async fn old_events_are_dropped_and_the_chain_still_holds() {
    let dir = TempDir::new();
    // Signing keys are rotated meanwhile otherwise, which would be an event, too.
    let server =
        TestControl::start_with(&dir, |settings| settings.signing.rotate_every_s = 1_000 * 86_400).await;
    let tenant = server.workspace().await;
    some_events(&tenant).await;
    server.clock.set(UnixSeconds(NOW + 60 * 86_400));
    let source = tenant.source("python").await;
    let noted = verified(&dir).await.noted.unwrap();
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
