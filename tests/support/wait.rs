//! Waiting for a condition, with a deadline. No test waits for a fixed time.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long anything in a test may take before it counts as never. Generous: a busy machine must not
/// fail a test, and a test that passes does not wait it out.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Resolves when `condition` holds; panics with `what` after the deadline.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let held = async {
        let mut ticks = interval(Duration::from_millis(5));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !condition() {
            ticks.tick().await;
        }
    };
    within(what, held).await;
}

/// What `future` resolves to; panics with `what` after the deadline.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("never happened: {what}"),
    }
}
