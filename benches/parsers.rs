//! What a byte costs each parser of what clients send: the plain input, and the worst of 200 generated shapes.
//!
//! The time is this thread's, the least of several runs. What would worry us: a worst shape far above the others,
//! or above ten times the plain one, which is where more tokens to a byte end. The work that tests bound is counted,
//! not timed: `tests/fuzz/cost.rs`. Run it with `cargo bench --bench parsers`; `SEED` and `PARSER` (a part of a name)
//! choose what is run.

#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a bench reads the time and the environment, and may fail by panicking"
)]

#[path = "../tests/support/shapes.rs"]
mod shapes;

use std::time::{Duration, Instant};

use shapes::{PARSERS, Parser};

const SHAPES: usize = 200;

/// The least time of several runs; a nanosecond is the least that tells anything.
fn time(parser: &Parser, sent: &[u8], runs: usize) -> Duration {
    let run = || {
        let began = Instant::now();
        (parser.run)(sent);
        began.elapsed()
    };
    (0..runs).map(|_| run()).min().unwrap()
}

#[allow(clippy::cast_precision_loss, reason = "lengths are far below 2^53")]
fn nanoseconds_a_byte(parser: &Parser, text: Vec<u8>, runs: usize) -> f64 {
    let bytes = text.len();
    let sent = (parser.sent)(text);
    time(parser, &sent, runs).as_nanos() as f64 / bytes as f64
}

fn main() {
    let text = |name: &str| std::env::var(name).unwrap_or_default();
    let seed: u64 = text("SEED").parse().unwrap_or(1);
    println!("SEED={seed}; nanoseconds a byte");
    for parser in PARSERS
        .iter()
        .filter(|parser| parser.name.contains(&text("PARSER")))
    {
        let mut state = seed;
        // SplitMix64.
        let mut random = |bound: usize| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
        };
        let plain = nanoseconds_a_byte(parser, parser.plain(), 200);
        let mut worst = (0.0, Vec::new());
        for number in 0..SHAPES {
            let shape = parser.shape(number, &mut random);
            let cost = nanoseconds_a_byte(parser, shape.clone(), 30);
            if cost > worst.0 {
                worst = (cost, shape);
            }
        }
        // Again and oftener: the first figure may have been the machine's.
        let (_, shape) = worst;
        let begins: String = String::from_utf8_lossy(&shape).chars().take(60).collect();
        let worst = nanoseconds_a_byte(parser, shape, 200);
        println!(
            "{:30} plain {plain:6.2} worst {worst:6.2} ratio {:5.1} {begins:?}",
            parser.name,
            worst / plain
        );
    }
}
