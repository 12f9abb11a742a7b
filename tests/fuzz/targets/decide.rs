//! `decide` against the slow reference: the bytes are the seed of a world and of requests.

use portcullis::domain::digest::sha256;
use proptest::collection::vec;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::worlds::{request, world};
use super::{reference, request::Request};

pub fn run(data: &[u8]) {
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &sha256(data));
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
