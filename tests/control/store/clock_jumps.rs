//! Clock jumps: no revocation is undone, and no row that revokes something is deleted too early.

use std::collections::HashSet;
use std::time::Duration;

use portcullis::clock::guard::{ClockGuard, ClockReading, ClockState, KEPT_AFTER_END_S};
use portcullis::clock::{Clock, ManualClock};
use portcullis::control::{Control, Revoked, TokensOf};
use portcullis::domain::time::UnixSeconds;
use serde_json::json;
use sqlx::AnyConnection;

use crate::support::{NOW, OPERATOR, TempDir, TestApp, TestControl, form, on_postgres, settings};

const HOUR: u64 = 3_600;
const DAY: u64 = 86_400;

async fn count(dir: &TempDir, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql)
        .fetch_one(&mut dir.sql().await)
        .await
        .unwrap()
}

/// Lets two days pass until [`NOW`], so that the control plane trusts its clock. From here on clocks jump and advance.
async fn settle(server: &TestControl) {
    server.clock.jump(UnixSeconds(NOW - 2 * DAY));
    server.control.purge().await;
    server.clock.advance(2 * DAY);
    server.control.purge().await;
    assert_eq!(server.control.clock_warning(), None);
}

#[tokio::test]
async fn clock_jump_revives_no_revoked_token() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    settle(&server).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let (before, during) = (app.token().await, app.token().await);
    let id = &app.details.app.id;
    let revoke = async |token: &str| {
        server
            .control
            .revocation
            .revoke_token(&OPERATOR, &tenant.id, id, token)
            .await
            .unwrap()
    };
    revoke(&before).await;
    server.clock.jump(UnixSeconds(NOW + 2 * DAY));
    server.clock.advance(15);
    // To a clock that is ahead the token looks expired. It is revoked all the same.
    assert!(matches!(revoke(&during).await, Revoked::Now { .. }));
    server.control.purge().await;
    let ahead = server.control.fleet.snapshot().await.unwrap();
    assert_eq!(ahead.revocations.len(), 2, "gateways go on refusing them");
    server.clock.jump(UnixSeconds(NOW + 15));
    server.control.purge().await;
    assert_eq!(
        server.control.fleet.snapshot().await.unwrap().revocations.len(),
        2
    );
    // Their own day passes on both clocks.
    server.clock.advance(DAY + 5 + KEPT_AFTER_END_S + HOUR);
    server.control.purge().await;
    assert_eq!(count(&dir, "SELECT count(*) FROM revocations").await, 0);
}

#[tokio::test]
async fn clock_jump_allows_no_assertion_replay() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    settle(&server).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let form = form(&app.assertion(), "");
    assert_eq!(server.post_token("/token", &form).await.status, 200);
    for ahead in [2 * HOUR, 3 * DAY] {
        server.clock.jump(UnixSeconds(NOW + ahead));
        server.control.purge().await;
        server.clock.jump(UnixSeconds(NOW + 1));
        let again = server.post_token("/token", &form).await;
        assert_eq!(again.status, 401, "{again:?}");
    }
}

#[tokio::test]
async fn clock_jump_delays_no_revocation_of_all_tokens() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    settle(&server).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let id = &app.details.app.id;
    let revoke = async || {
        let revoked = server
            .control
            .revocation
            .revoke_all(&OPERATOR, &tenant.id, TokensOf::App(id), None);
        revoked.await.unwrap().0
    };
    let ahead = NOW + 2 * DAY;
    server.clock.jump(UnixSeconds(ahead));
    let mut claims = app.claims();
    (claims["iat"], claims["exp"]) = (json!(ahead), json!(ahead + 60));
    let answer = server.ask(&app.key.sign(&app.header(), &claims), "").await;
    assert_eq!(answer.status, 200, "a client with the same clock");
    server.clock.jump(UnixSeconds(NOW + 15));
    // The token says that it was issued in two days; it must have ended then.
    assert!(revoke().await > ahead);
    // Nor has anybody to wait two days to revoke again.
    let first = revoke().await;
    assert!(revoke().await > first);
}

#[tokio::test]
async fn revoke_all_covers_tokens_issued_ahead_in_the_same_hour() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    settle(&server).await;
    let tenant = server.workspace().await;
    let (app, sibling) = (tenant.app().await, tenant.app().await);
    let (id, key) = (&app.details.app.id, &app.details.keys[0].id);
    let revoke = async |tokens| {
        let revoked = server
            .control
            .revocation
            .revoke_all(&OPERATOR, &tenant.id, tokens, None);
        revoked.await.unwrap().0
    };
    let ask_at = async |app: &TestApp<'_>, at: u64| {
        let mut claims = app.claims();
        (claims["iat"], claims["exp"]) = (json!(at), json!(at + 60));
        let answer = server.ask(&app.key.sign(&app.header(), &claims), "").await;
        assert_eq!(answer.status, 200, "a client with the same clock: {answer:?}");
    };
    // One hour: NOW is its first second.
    assert_eq!(NOW % 3_600, 0);
    for (now, ahead) in (NOW + 20..).zip([300, 900, 1_800]) {
        server.clock.jump(UnixSeconds(now + ahead));
        ask_at(&app, now + ahead).await;
        ask_at(&sibling, now + ahead).await;
        server.clock.jump(UnixSeconds(now));
        let tokens = match ahead {
            300 => TokensOf::Key(id, key),
            900 => TokensOf::App(id),
            _ => TokensOf::Workspace,
        };
        assert_eq!(revoke(tokens).await, now + ahead + 1, "{tokens:?}");
    }
}

#[tokio::test]
async fn clock_jump_expires_no_idempotency_key() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    settle(&server).await;
    let tenant = server.workspace().await;
    let target = format!("/api/v1/workspaces/{}/sources", tenant.id);
    let authorization = format!("Bearer {}", tenant.api_token);
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
        ("Idempotency-Key", "one-request"),
    ];
    let body = json!({"name": "one", "kind": "python"}).to_string();
    let send = async || server.send("POST", &target, &headers, body.as_bytes()).await;
    let first = send().await.json()["id"].clone();
    server.clock.jump(UnixSeconds(NOW + 5 * DAY));
    server.control.purge().await;
    assert_eq!(send().await.json()["id"], first);
}

#[tokio::test]
async fn clock_jump_deletes_no_signing_key_session_or_event() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    settle(&server).await;
    server.control.signing_keys.rotate(&OPERATOR).await.unwrap();
    server.clock.advance(2 * HOUR);
    server.control.signing_keys.keep().await.unwrap();
    let keys = || async {
        server
            .control
            .fleet
            .snapshot()
            .await
            .unwrap()
            .issuer
            .unwrap()
            .keys
            .len()
    };
    let (held, events) = (
        keys().await,
        count(&dir, "SELECT count(*) FROM audit_events").await,
    );
    server.clock.jump(UnixSeconds(NOW + 400 * DAY));
    server.control.purge().await;
    server.control.signing_keys.keep().await.unwrap();
    assert_eq!(
        keys().await,
        held,
        "none is dropped, and none made for the far future"
    );
    assert_eq!(count(&dir, "SELECT count(*) FROM audit_events").await, events);
}

#[tokio::test]
async fn restart_with_wrong_clock_deletes_nothing() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    settle(&server).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let token = app.token().await;
    let id = app.details.app.id.clone();
    server
        .control
        .revocation
        .revoke_token(&OPERATOR, &tenant.id, &id, &token)
        .await
        .unwrap();
    server.stop().await;
    // Ahead by a year, for almost a day; then behind by a year.
    for (wall, warns) in [(NOW + 365 * DAY, false), (NOW - 365 * DAY, true)] {
        let clock = ManualClock::at(UnixSeconds(wall));
        let control = open_at(&dir, &clock).await;
        control.purge().await;
        clock.advance(DAY - HOUR);
        control.purge().await;
        assert_eq!(control.clock_warning().is_some(), warns);
        control.close().await;
        assert_eq!(count(&dir, "SELECT count(*) FROM revocations").await, 1);
    }
    // With a right clock it goes on as if nothing had been.
    let clock = ManualClock::at(UnixSeconds(NOW + 2 * DAY));
    let control = open_at(&dir, &clock).await;
    control.purge().await;
    assert_eq!(control.clock_warning(), None);
    clock.advance(DAY + KEPT_AFTER_END_S + HOUR);
    control.purge().await;
    assert_eq!(count(&dir, "SELECT count(*) FROM revocations").await, 0);
    control.close().await;
}

async fn open_at(dir: &TempDir, clock: &ManualClock) -> Control {
    Control::open(settings(dir.store()), Clock::Manual(clock.clone()))
        .await
        .unwrap()
}

#[test]
fn clock_that_differs_from_the_database_purges_nothing() {
    let mut guard = ClockGuard::new(UnixSeconds(NOW));
    let mut look = |wall: u64, uptime: u64, database: u64| {
        guard.look(&ClockReading {
            wall: UnixSeconds(wall),
            uptime: Duration::from_secs(uptime),
            database: Some(UnixSeconds(database)),
        })
    };
    assert_eq!(look(NOW, 0, NOW).passed, UnixSeconds(NOW));
    // This clock is ahead, and steadily so for a week; the database's is not.
    for day in 1..8 {
        let look = look(NOW + day * DAY + HOUR, day * DAY, NOW + day * DAY);
        assert_eq!(
            (look.state, look.passed),
            (ClockState::DiffersFromDatabase, UnixSeconds(0))
        );
    }
    // Set right, it is trusted after a day.
    look(NOW + 8 * DAY, 8 * DAY, NOW + 8 * DAY);
    let look = look(NOW + 9 * DAY, 9 * DAY, NOW + 9 * DAY);
    assert_eq!(
        (look.state, look.passed),
        (ClockState::Settled, UnixSeconds(NOW + 9 * DAY))
    );
}

#[tokio::test]
async fn database_clock_is_read() {
    // A process with the system's clock agrees with a database on the same machine.
    let dir = TempDir::new();
    let control = Control::open(settings(dir.store()), Clock::System).await.unwrap();
    control.purge().await;
    assert_eq!(control.clock_warning(), None);
    control.close().await;
}

/// SplitMix64: enough to choose with, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A new seed, or the one of an earlier run.
fn seed() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a failed run is repeated from outside")]
    let given = std::env::var("PORTCULLIS_TEST_SEED");
    let seed = given.ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| Clock::System.uptime().as_nanos() as u64);
    println!("PORTCULLIS_TEST_SEED={seed}");
    seed
}

/// Something that was ended.
struct Row {
    /// When it expires.
    end: u64,
    /// How long its end has lain in the past of the wall clock while a process ran.
    passed: u64,
    is_gone: bool,
}

/// The true time, next to what the wall clock shows.
struct World {
    random: Random,
    /// The true time, in Unix seconds.
    truth: u64,
    /// By how much the wall clock is wrong.
    wrong_by: i64,
    /// How long it has been wrong.
    wrong_for: u64,
    /// Whether the clock is never wrong for a whole day.
    bounded: bool,
    rows: Vec<Row>,
}

impl World {
    fn new(seed: u64, bounded: bool) -> Self {
        Self {
            random: Random(seed),
            truth: NOW,
            wrong_by: 0,
            wrong_for: 0,
            bounded,
            rows: Vec::new(),
        }
    }

    fn wall(&self) -> u64 {
        self.truth.saturating_add_signed(self.wrong_by)
    }

    /// Lets time pass while a process runs. Answers how much.
    fn pass(&mut self) -> u64 {
        let scales = [10, 600, 6 * HOUR, 20 * HOUR];
        let scale = scales[self.random.below(4) as usize];
        let mut seconds = 1 + self.random.below(scale);
        if self.bounded && self.wrong_by != 0 {
            seconds = seconds.min((20 * HOUR).saturating_sub(self.wrong_for));
            self.wrong_for += seconds;
        }
        let wall = self.wall();
        for row in &mut self.rows {
            row.passed += (wall + seconds).saturating_sub(row.end.max(wall)).min(seconds);
        }
        self.truth += seconds;
        seconds
    }

    /// Sets the clock to the right time, or to any other, a little or far away.
    fn set_clock(&mut self) {
        let must_mend = self.bounded && self.wrong_for >= 19 * HOUR;
        if must_mend || self.random.below(2) == 0 {
            (self.wrong_by, self.wrong_for) = (0, 0);
        } else {
            let sizes = [30, 90, HOUR, 2 * DAY, 400 * DAY];
            let size = sizes[self.random.below(5) as usize];
            let by = i64::try_from(self.random.below(2 * size)).unwrap();
            self.wrong_by = by - i64::try_from(size).unwrap();
        }
    }

    /// When something expires that is ended now: a right clock has set that, or this one.
    fn expiry(&mut self) -> UnixSeconds {
        let from = [self.truth, self.wall()][self.random.below(2) as usize];
        UnixSeconds(from + 1 + self.random.below(30 * DAY))
    }

    /// Ends something until a moment. Answers its number.
    fn ends(&mut self, end: UnixSeconds) -> usize {
        let row = Row {
            end: end.0,
            passed: 0,
            is_gone: false,
        };
        self.rows.push(row);
        self.rows.len() - 1
    }

    /// Checks that a row that is gone may be.
    fn goes(&mut self, at: usize) {
        let wall = self.wall();
        let row = &mut self.rows[at];
        row.is_gone = true;
        assert!(
            wall >= row.end + DAY && row.passed >= DAY,
            "row {at} of {} has lain in the past for {} s and is gone at {wall}",
            row.end,
            row.passed
        );
        // Whatever the clock shows later, as long as it is not earlier than the truth by all the time a row is
        // kept: what the row ended has expired.
        assert!(
            !self.bounded || row.end + DAY <= self.truth,
            "row {at} of {} is gone at {}, and what it ended lives",
            row.end,
            self.truth
        );
    }
}

#[test]
fn rows_are_kept_a_day_on_both_clocks() {
    let seed = seed();
    for run in 0..16 {
        let mut world = World::new(seed.wrapping_add(run), run % 2 == 0);
        let (mut guard, mut booted, mut kept) =
            (ClockGuard::new(UnixSeconds(0)), world.truth, UnixSeconds(0));
        for _ in 0..1_000 {
            world.set_clock();
            if world.random.below(8) == 0 {
                // The process was killed, and was away for a while.
                world.truth += world.random.below(3 * DAY);
                (guard, booted) = (ClockGuard::new(kept), world.truth);
            }
            let look = guard.look(&ClockReading {
                wall: UnixSeconds(world.wall()),
                uptime: Duration::from_secs(world.truth - booted),
                database: None,
            });
            if world.random.below(3) > 0 {
                kept = look.mark.unwrap_or(kept);
            }
            let expiry = world.expiry();
            world.ends(guard.end_of_row(expiry));
            for at in 0..world.rows.len() {
                if !world.rows[at].is_gone && world.rows[at].end < look.ended_before().0 {
                    world.goes(at);
                }
            }
            world.pass();
        }
        let gone = world.rows.iter().filter(|row| row.is_gone).count();
        assert!(gone > 0, "run {run} deletes nothing");
    }
}

/// The rows there are, by their number.
async fn rows(connection: &mut AnyConnection) -> HashSet<usize> {
    let texts: Vec<String> = sqlx::query_scalar(
        "SELECT token_id FROM revocations UNION ALL SELECT digest FROM used_assertions \
         UNION ALL SELECT digest FROM idempotency_keys",
    )
    .fetch_all(connection)
    .await
    .unwrap();
    texts
        .iter()
        .map(|text| text.trim_start_matches('x').parse().unwrap())
        .collect()
}

async fn insert(connection: &mut AnyConnection, at: usize, end: u64) {
    let text = [
        "INSERT INTO revocations (issuer, token_id, expires_at, app, at, reason) VALUES ('i', $1, $2, 'a', 0, 'r')",
        "INSERT INTO used_assertions (digest, expires_at) VALUES ($1, $2)",
        "INSERT INTO idempotency_keys (digest, member, body_digest, resource_id, expires_at) VALUES ($1, 'm', $1, 'r', $2)",
    ][at % 3];
    sqlx::query(text)
        .bind(format!("{at:x>43}"))
        .bind(i64::try_from(end).unwrap())
        .execute(connection)
        .await
        .unwrap();
}

#[tokio::test]
async fn rows_survive_clock_jumps_and_kills() {
    let (seed, dir) = (seed(), TempDir::new());
    let mut world = World::new(seed, true);
    let mut clock = ManualClock::at(UnixSeconds(world.wall()));
    let mut control = open_at(&dir, &clock).await;
    let mut sql = dir.sql().await;
    let jumps = if on_postgres() { 200 } else { 1_000 };
    for _ in 0..jumps {
        world.set_clock();
        if world.random.below(25) == 0 {
            // Killed: nothing is written down, and nothing closed.
            drop(control);
            world.truth += world.random.below(3 * DAY);
            clock = ManualClock::at(UnixSeconds(world.wall()));
            control = open_at(&dir, &clock).await;
        }
        clock.jump(UnixSeconds(world.wall()));
        if world.random.below(4) == 0 {
            let end = control.end_of_row(world.expiry());
            insert(&mut sql, world.ends(end), end.0).await;
        }
        control.purge().await;
        let left = rows(&mut sql).await;
        for at in 0..world.rows.len() {
            if !world.rows[at].is_gone && !left.contains(&at) {
                world.goes(at);
            }
        }
        clock.advance(world.pass());
    }
    let gone = world.rows.iter().filter(|row| row.is_gone).count();
    assert!(gone > 0, "nothing was deleted");
}
