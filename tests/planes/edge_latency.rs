//! How long a revocation takes until twenty edges refuse it. It measures and is run alone:
//! `cargo test --profile dist --test planes -- --ignored --nocapture edge_latency`
#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::thread::scope;
use std::time::{Duration, Instant};

use super::edges::{Fleet, allowed, denied, eventually};
use super::support::product::Serve;

const EDGES: usize = 20;
const REVOCATIONS: usize = 100;

/// The value below which this share of the durations lies.
fn quantile(durations: &mut [Duration], share: f64) -> Duration {
    durations.sort_unstable();
    let at = (durations.len() as f64 * share).ceil() as usize;
    durations[at.clamp(1, durations.len()) - 1]
}

/// From now until the last edge refuses the token.
fn refused_everywhere(fleet: &Fleet, edges: &[Serve], token: &str) -> Duration {
    let began = Instant::now();
    scope(|threads| {
        for edge in edges {
            threads.spawn(move || {
                eventually(&denied(401, "token_revoked"), || fleet.verdict(edge, Some(token)));
            });
        }
    });
    began.elapsed()
}

#[test]
#[ignore = "a measurement, for a dist build on a quiet machine"]
fn revocations_are_refused_at_twenty_edges() {
    let fleet = Fleet::start();
    let edges: Vec<Serve> = (1..=EDGES).map(|at| fleet.edge(&format!("edge-{at}"))).collect();
    let (mut plain, mut waited) = (Vec::new(), Vec::new());
    for at in 0..REVOCATIONS {
        let token = fleet.env.token("", "tracking_api:write");
        for edge in &edges {
            eventually(&allowed(), || fleet.verdict(edge, Some(&token)));
        }
        if at % 2 == 0 {
            fleet.env.revoke(&token);
            plain.push(refused_everywhere(&fleet, &edges, &token));
        } else {
            let began = Instant::now();
            let (status, answer) = fleet.revoke(&token, "10s");
            waited.push(began.elapsed());
            assert_eq!(
                (status, answer["edges"]["in_force"].as_u64()),
                (200, Some(EDGES as u64))
            );
            for edge in &edges {
                assert_eq!(fleet.verdict(edge, Some(&token)), denied(401, "token_revoked"));
            }
        }
    }
    for (what, durations) in [
        ("plain answer to the last refusal", &mut plain),
        ("wait=edges, answered complete", &mut waited),
    ] {
        let [half, most] = [0.5, 0.99].map(|share| quantile(durations, share));
        println!(
            "{what}: p50 {half:.1?}, p99 {most:.1?} ({EDGES} edges, {} revocations)",
            durations.len()
        );
    }
}
