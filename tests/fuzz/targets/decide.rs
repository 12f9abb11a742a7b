//! `decide` against the slow reference: the bytes are the coin tosses that make the world and the requests.

use proptest::collection::vec;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::worlds::{request, world};
use super::{reference, request::Request};

pub fn run(data: &[u8]) {
    let random = TestRng::from_seed(RngAlgorithm::PassThrough, &without_end(data));
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let Ok(tree) = (world(), vec(request(), 1..8)).new_tree(&mut runner) else {
        return;
    };
    let (world, requests) = tree.current();
    let policy = world.policy();
    for request in &requests {
        assert_eq!(
            Request::decide(request, &policy),
            reference::decide(&world, request),
            "{request:?}"
        );
    }
}

/// The bytes, and more than anybody needs behind them: the strategies would wait for ever for another number
/// than the zeros that come when bytes run out.
fn without_end(data: &[u8]) -> Vec<u8> {
    let mut state = data.iter().fold(0_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut out = data.to_vec();
    while out.len() < 64 << 10 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        out.extend_from_slice(&(mixed ^ (mixed >> 29)).to_le_bytes());
    }
    out
}
