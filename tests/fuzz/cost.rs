//! No byte of a client is expensive to parse: of 200 generated shapes for each parser the worst is at most four times the plain one.
//!
//! The measure is the parsers' own count of the bytes that they look at (`domain::cost`), which is the same on every
//! machine. What libraries do with bytes is counted as one look; `benches/parsers.rs` measures the time of both.
//! The seed is printed; `FUZZ_SEED` repeats it.

use std::hash::{BuildHasher as _, RandomState};

use portcullis::domain::cost;
use portcullis::gateway::read::json::scan::scan;
use portcullis::gateway::read::json::scan_error::ScanError;

use super::mutate::Mutator;
use super::number;
use super::shapes::{PARSERS, Parser};

const SHAPES: usize = 200;

/// How much dearer than the plain input a byte may be.
const RATIO_MAX: f64 = 4.0;

/// Looks at each byte. What a coded body costs is a matter of what comes out.
#[allow(clippy::cast_precision_loss, reason = "both are far below 2^53")]
fn looks(parser: &Parser, text: Vec<u8>) -> f64 {
    let bytes = text.len();
    let sent = (parser.sent)(text);
    let ((), looks) = cost::of(|| (parser.run)(&sent));
    looks as f64 / bytes as f64
}

#[test]
fn worst_shape_costs_at_most_4_times_the_plain() {
    let seed = number("FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one("shapes"));
    println!("FUZZ_SEED={seed}");
    for parser in &PARSERS {
        let mut mutator = Mutator::new(seed, Vec::new());
        let plain = looks(parser, parser.plain());
        assert!(plain >= 0.9, "{}: what it looks at is not counted", parser.name);
        let mut worst = (0.0, Vec::new());
        for number in 0..SHAPES {
            let shape = parser.shape(number, &mut |bound| mutator.below(bound));
            let looks = looks(parser, shape.clone());
            if looks > worst.0 {
                worst = (looks, shape);
            }
        }
        let (looks, shape) = worst;
        let begins = String::from_utf8_lossy(&shape[..shape.len().min(200)]).into_owned();
        println!("{:30} plain {plain:.2} worst {looks:.2} {begins:?}", parser.name);
        assert!(
            looks <= RATIO_MAX * plain,
            "{}: {looks} looks at a byte, plain {plain}, FUZZ_SEED={seed}: {begins:?}",
            parser.name
        );
    }
}

/// A key of escapes for megabytes, and a block of colons behind it.
fn long_key(begins: &str, bytes: usize, colons: usize) -> Vec<u8> {
    let key = format!("{begins}{}", "\\n".repeat(bytes / 2));
    // The colons begin a block of their own.
    let padding = " ".repeat((64 - (key.len() + 3) % 64) % 64 + 1);
    format!("{{\"{key}\"{padding}{}", ":".repeat(colons)).into_bytes()
}

#[test]
fn key_is_looked_at_once_for_any_number_of_colons() {
    let escaped = r"\u0077\u0072\u0069\u0074\u0065\u004b\u0065\u0079";
    for begins in ["", escaped] {
        for bytes in [1 << 20, 8_300_000] {
            let body = long_key(begins, bytes, 64);
            let (answer, looks) = cost::of(|| scan(&body));
            assert_eq!(answer, Err(ScanError::Invalid));
            let allowed = body.len() as u64 + 64;
            assert!(looks <= allowed, "{looks} looks at {} bytes", body.len());
        }
    }
}
