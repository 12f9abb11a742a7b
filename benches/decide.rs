//! Nanoseconds per decision: each outcome, 10 to 1,000,000 sources, 0 to 1,000,000 revocations.
//!
//! `hot` asks for one source over and over. `random source` draws a source for every decision, so that its
//! entries come from memory instead of a cache; one app serves them all. In `random source, app and token`
//! each of a million sources has an app of its own and each request a token never seen before, so nearly
//! every line that a decision reads is a fetch from memory. What would worry us: more than 150 ns hot or
//! 700 ns for a random source at a million each, or any heap allocation (`tests/decide` counts those).
//! Noise: compare within one run.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a bench may fail by panicking"
)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::domain::access_token::VerifiedToken;
use portcullis::domain::decide::decide;
use portcullis::domain::facts::{
    CredentialFact, RequestFacts, RouteFacts, SourceFact, UnknownSources, WithoutToken,
};
use portcullis::domain::ids::WriteKeyDigest;
use portcullis::domain::policy::Policy;
use portcullis::domain::scope::Scope;
use portcullis::domain::time::UnixSeconds;
use portcullis::snapshot;
use portcullis::snapshot::{Change, Changes, RevocationRecord};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[path = "../tests/support/forge.rs"]
mod forge;
#[path = "../tests/support/secrets.rs"]
mod secrets;
#[path = "../tests/support/test_key.rs"]
mod test_key;

use forge::{Forge, NOW};

const SIZES: [(usize, usize); 4] = [
    (10, 0),
    (1_000, 1_000),
    (100_000, 100_000),
    (1_000_000, 1_000_000),
];

fn facts<'a>(scope: &'a Scope, source: SourceFact, credential: CredentialFact<'a>) -> RequestFacts<'a> {
    let route = RouteFacts {
        scope,
        unknown_sources: UnknownSources::Deny,
        without_token: WithoutToken::Deny,
    };
    RequestFacts {
        route,
        source,
        credential,
    }
}

fn outcomes(c: &mut Criterion) {
    let forge = Forge::new();
    let scope = Scope::parse(forge::SCOPE).unwrap();
    let policy = forge.policy(1_000, 1_000);
    let token = forge.token(&policy, 0, "never-revoked");
    let revoked = forge.token(&policy, 0, "revoked-0");
    let key = SourceFact::WriteKey(WriteKeyDigest::of(forge::write_key(0).as_bytes()));
    let other = SourceFact::WriteKey(WriteKeyDigest::of(forge::write_key(1).as_bytes()));
    let unknown = SourceFact::WriteKey(WriteKeyDigest::of(b"nobody"));
    let fault = portcullis::domain::access_token::TokenFault::SignatureInvalid;
    let late = UnixSeconds(NOW.0 + 1_000_000);
    let cases = [
        ("permit", key, CredentialFact::Verified(&token), NOW),
        ("token_missing", key, CredentialFact::Missing, NOW),
        ("credentials_conflict", key, CredentialFact::Conflicting, NOW),
        ("source_unknown", unknown, CredentialFact::Verified(&token), NOW),
        (
            "token_signature_invalid",
            key,
            CredentialFact::Faulty(&fault),
            NOW,
        ),
        ("token_expired", key, CredentialFact::Verified(&token), late),
        ("token_revoked", key, CredentialFact::Verified(&revoked), NOW),
        ("app_not_connected", other, CredentialFact::Verified(&token), NOW),
    ];
    let mut group = c.benchmark_group("outcome");
    for (name, source, credential, now) in cases {
        let facts = facts(&scope, source, credential);
        group.bench_function(name, |b| {
            b.iter(|| decide(black_box(&policy), black_box(&facts), black_box(now)));
        });
    }
    group.finish();
}

/// One request of a random draw: everything a decision is asked about, prepared beforehand.
struct Drawn {
    key: WriteKeyDigest,
    token: VerifiedToken,
}

/// Sources in an order that no prefetcher follows, each with a token of the app it is connected to.
fn draw(forge: &Forge, policy: &Policy, sources: usize, apps: usize) -> Vec<Drawn> {
    let mut at = 7_usize;
    (0..sources.min(100_000))
        .map(|n| {
            at = at
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407)
                >> 1;
            let source = at % sources;
            Drawn {
                key: WriteKeyDigest::of(forge::write_key(source).as_bytes()),
                token: forge.token(policy, source % apps, &format!("drawn-{n}")),
            }
        })
        .collect()
}

fn sizes(c: &mut Criterion) {
    let forge = Forge::new();
    let scope = Scope::parse(forge::SCOPE).unwrap();
    for (sources, revocations) in SIZES {
        let id = |name: &str| format!("{name}/{sources} sources, {revocations} revocations");
        // One app that serves every source, and one app a source.
        for apps in [1, sources] {
            let policy = snapshot::compile(
                &forge.snapshot_of(sources, apps, revocations),
                &[],
                forge::FRESHNESS,
            )
            .unwrap();
            let token = forge.token(&policy, 0, "never-revoked");
            let drawn = draw(&forge, &policy, sources, apps);
            // Apart from the tokens, as a request's own digest is at hand when it is decided.
            let keys: Vec<_> = drawn.iter().map(|one| one.key).collect();
            let mut at = 0;
            if apps == 1 {
                let key = SourceFact::WriteKey(WriteKeyDigest::of(forge::write_key(0).as_bytes()));
                let hot = facts(&scope, key, CredentialFact::Verified(&token));
                c.bench_function(&id("hot"), |b| {
                    b.iter(|| decide(black_box(&policy), black_box(&hot), black_box(NOW)));
                });
                c.bench_function(&id("random source"), |b| {
                    b.iter(|| {
                        at = (at + 1) % keys.len();
                        let source = SourceFact::WriteKey(keys[at]);
                        let facts = facts(&scope, source, CredentialFact::Verified(&token));
                        decide(black_box(&policy), black_box(&facts), black_box(NOW))
                    });
                });
                changes(c, &policy, &id("apply one revocation"));
                continue;
            }
            c.bench_function(&id("random source, app and token"), |b| {
                b.iter(|| {
                    at = (at + 1) % drawn.len();
                    let one = &drawn[at];
                    let source = SourceFact::WriteKey(one.key);
                    let facts = facts(&scope, source, CredentialFact::Verified(&one.token));
                    decide(black_box(&policy), black_box(&facts), black_box(NOW))
                });
            });
        }
    }
}

fn changes(c: &mut Criterion, policy: &Policy, name: &str) {
    let mut policy = Arc::new(policy.clone());
    let mut n = 0_u64;
    c.bench_function(name, |b| {
        b.iter(|| {
            n += 1;
            let record = RevocationRecord {
                issuer: forge::ISSUER.to_owned(),
                token_id: format!("change-{n}"),
                expires_at: NOW.0 + 1_000,
            };
            let changes = Changes {
                version: policy.version() + 1,
                issued_at: NOW.0,
                changes: vec![Change::Revoke(record)],
            };
            policy = Arc::new(snapshot::apply(&policy, &changes).unwrap());
        });
    });
}

criterion_group!(benches, outcomes, sizes);
criterion_main!(benches);
