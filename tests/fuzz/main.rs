//! Every fuzz target on the stable toolchain: its corpus, and a bounded number of mutations of it.
//!
//! The bodies of the targets are in `targets`, and `fuzz/` runs the same ones under cargo-fuzz for as long as one
//! likes. What that finds is put into `fuzz/corpus` and stays a test here.
//!
//! The seed of a run is printed with a failure; `FUZZ_SEED` repeats it, and `FUZZ_CASES` asks for more of them.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may fail by panicking, and reads its seed from the environment"
)]

mod agreement;
mod cost;
mod mutate;
#[path = "../support/shapes.rs"]
mod shapes;
mod targets;

use std::hash::{BuildHasher as _, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mutate::Mutator;

/// The longest input made, in bytes.
const INPUT_BYTES_MAX: usize = 4_096;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = root().join("fuzz/corpus").join(target);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target} has no corpus");
    paths
        .into_iter()
        .map(|path| {
            let bytes = std::fs::read(&path).unwrap();
            (path, bytes)
        })
        .collect()
}

/// Runs a target over its corpus and `cases` mutations of it.
fn exercise(target: &str, run: fn(&[u8]), cases: u64) {
    let corpus = corpus(target);
    for (path, bytes) in &corpus {
        assert!(
            catch_unwind(AssertUnwindSafe(|| run(bytes))).is_ok(),
            "{target} fails on {}",
            path.display()
        );
    }
    let seed = number("FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(target));
    let mut mutator = Mutator::new(seed, corpus.into_iter().map(|(_, bytes)| bytes).collect());
    for case in 0..number("FUZZ_CASES").unwrap_or(cases) {
        let input = mutator.next(INPUT_BYTES_MAX);
        if catch_unwind(AssertUnwindSafe(|| run(&input))).is_err() {
            let find = root().join(format!("target/fuzz-find-{target}"));
            std::fs::write(&find, &input).unwrap();
            panic!(
                "{target} fails on case {case} of FUZZ_SEED={seed}, kept in {}",
                find.display()
            );
        }
    }
}

macro_rules! targets {
    ($($name:ident: $cases:literal,)*) => {
        $(
            #[test]
            fn $name() {
                exercise(stringify!($name), targets::$name::run, $cases);
            }
        )*

        /// A target that only one of the two runners knows would be run by half.
        #[test]
        fn cargo_fuzz_has_every_target() {
            let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
            let names = [$(stringify!($name)),*];
            for name in names {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
            }
            assert_eq!(manifest.matches("[[bin]]").count(), names.len());
        }
    };
}

// Slow ones get fewer cases: each target takes about a second or less.
targets! {
    assertion: 1_500,
    claims: 1_500,
    config: 1_500,
    decide: 60,
    form: 5_000,
    gzip: 3_000,
    head: 5_000,
    path: 10_000,
    scan: 10_000,
    snapshot: 3_000,
    token: 5_000,
    upstream: 250,
}
