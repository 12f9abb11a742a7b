//! The promise of a fleet in a model: a control plane and its edges in simulated time, with lost and delayed messages, cuts,
//! restarts and clocks that drift. The rules are the product's own, from `portcullis::fleet`.
//!
//! `FLEET_MODEL_RUNS` sets how many runs there are. A failure names its seed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod world;

use world::{Rule, Violation, World};

/// Runs where nothing says otherwise.
const RUNS: u64 = 1_500;

/// Runs within which a rule that does not hold must be found out.
const WRONG_RUNS: u64 = 400;

#[expect(clippy::disallowed_methods, reason = "the number of runs comes from outside")]
fn runs() -> u64 {
    let wanted = std::env::var("FLEET_MODEL_RUNS").ok();
    wanted.map_or(RUNS, |text| text.parse().unwrap())
}

fn violations(rule: Rule, runs: u64) -> impl Iterator<Item = (u64, Violation)> {
    (0..runs).filter_map(move |seed| Some((seed, World::new(seed, rule).run()?)))
}

#[test]
fn bound_and_completeness_hold_in_every_run() {
    if let Some((seed, violation)) = violations(Rule::Proposed, runs()).next() {
        panic!("seed {seed}: {violation}");
    }
}

#[test]
fn lease_counted_from_the_arrival_breaks_the_bound() {
    assert!(violations(Rule::CountedFromArrival, WRONG_RUNS).any(|(_, found)| found.is_late()));
}

#[test]
fn lease_without_the_age_of_the_answer_breaks_the_bound() {
    assert!(violations(Rule::WithoutAge, WRONG_RUNS).any(|(_, found)| found.is_late()));
}

#[test]
fn renewal_while_behind_breaks_the_bound() {
    assert!(violations(Rule::RenewedWhileBehind, WRONG_RUNS).any(|(_, found)| found.is_late()));
}

#[test]
fn renewal_by_a_later_position_breaks_completeness() {
    let mut found = violations(Rule::ByThePositionInForce, WRONG_RUNS);
    assert!(found.any(|(_, found)| !found.is_late()));
}
