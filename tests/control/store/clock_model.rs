//! Random clock jumps and kills, against a model: rows that revoke something are kept for a day on both clocks.

use super::clock_jumps::{DAY, HOUR, open_at};
use crate::support::{NOW, TempDir, on_postgres};
use portcullis::clock::guard::{ClockGuard, ClockReading};
use portcullis::clock::{Clock, ManualClock};
use portcullis::domain::time::UnixSeconds;
use sqlx::AnyConnection;
use std::collections::HashSet;
use std::time::Duration;

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
