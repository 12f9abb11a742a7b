//! What a token costs, per algorithm: the raw signature check, a cold verification, a cache hit.
//!
//! `raw` is aws-lc-rs with a parsed key over the same bytes; `miss` is everything from the token's text to a
//! verified token; `hit` is the cache. What would worry us: a miss above 1.2 times raw for RS256. Noise: the
//! three of one algorithm run one after the other; compare their ratio.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a bench may fail by panicking"
)]

use std::hint::black_box;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::domain::access_token::TOKEN_BYTES_MAX;
use portcullis::domain::access_token::VerifiedToken;
use portcullis::domain::ids::KeyId;
use portcullis::domain::key::Algorithm;
use portcullis::gateway::state::token_cache::TokenCache;

#[path = "../tests/support/forge.rs"]
mod forge;
#[path = "../tests/support/secrets.rs"]
mod secrets;
#[path = "../tests/support/test_key.rs"]
mod test_key;

use forge::{Forge, NOW};

fn tokens(c: &mut Criterion) {
    for algorithm in Algorithm::ALL {
        let forge = Forge::of(algorithm);
        let policy = forge.policy(10, 0);
        let token = forge.token_text(3, "0d5d1c2e3f4a5b6c7d8e9f0a1b2c3d4e");
        let (input, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let id = KeyId::parse(forge::KEY_ID).unwrap();
        let keys = policy.issuers()[0].keys.as_ref().unwrap();
        let key = keys.candidates(&id, algorithm).next().unwrap().clone();
        let name = algorithm.as_str();
        let mut group = c.benchmark_group("verify_token");
        group.bench_function(format!("{name}/raw"), |b| {
            b.iter(|| assert!(key.verifies(black_box(input.as_bytes()), black_box(&signature))));
        });
        group.bench_function(format!("{name}/miss"), |b| {
            b.iter(|| VerifiedToken::verify(black_box(&token), black_box(&policy)).unwrap());
        });
        let cache = TokenCache::new(100);
        group.bench_function(format!("{name}/hit"), |b| {
            b.iter(|| {
                assert!(
                    cache
                        .look_up(black_box(&token), &policy, NOW, TOKEN_BYTES_MAX)
                        .token
                        .is_ok()
                );
            });
        });
        group.finish();
    }
}

criterion_group!(benches, tokens);
criterion_main!(benches);
