//! What several targets need: one key to sign with, always the same, so that a find can be run again, and an
//! empty policy.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::domain::cost;
use portcullis::domain::ids::KeyId;
use portcullis::domain::key::{Algorithm, PublicKey, VerifyingKey};
use portcullis::domain::policy::{Freshness, Policy, TrustedIssuer, WhenStale};
use portcullis::snapshot;
use portcullis::snapshot::{FORMAT, Snapshot};

/// How often a parser may look at one byte, at most. Plain inputs are looked at two to eight times.
const LOOKS_MAX: u64 = 16;

/// Runs a parser over `bytes` bytes, and checks that its work is bounded by them. Short inputs have a start of 64.
pub fn in_linear_work<T>(bytes: usize, parse: impl FnOnce() -> T) -> T {
    let (answer, looks) = cost::of(parse);
    assert!(
        looks <= LOOKS_MAX * (bytes as u64 + 64),
        "{looks} looks at {bytes} bytes"
    );
    answer
}

/// The output of a future that waits for nobody else.
pub fn now<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

pub const KEY_ID: &str = "fuzz-key";

pub const FRESHNESS: Freshness = Freshness {
    max_age_s: 60,
    when_stale: WhenStale::Deny,
};

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

pub fn verifying_key() -> VerifyingKey {
    let public = PublicKey::from_ed25519(pair().public_key().as_ref()).unwrap();
    VerifyingKey::new(KeyId::parse(KEY_ID).unwrap(), public, Algorithm::EdDsa).unwrap()
}

/// A good token around any payload.
pub fn signed(typ: &str, payload: &[u8]) -> String {
    thread_local! {
        static PAIR: Ed25519KeyPair = pair();
    }
    let header = format!(r#"{{"alg":"EdDSA","kid":"{KEY_ID}","typ":"{typ}"}}"#);
    let input = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let signature = PAIR.with(|pair| pair.sign(input.as_bytes()));
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

pub fn empty_snapshot() -> Snapshot {
    Snapshot {
        format: FORMAT,
        version: 1,
        issued_at: 0,
        issuer: None,
        apps: Vec::new(),
        workspaces: Vec::new(),
        sources: Vec::new(),
        revocations: Vec::new(),
    }
}

pub fn policy_of(issuers: &[TrustedIssuer]) -> Policy {
    snapshot::compile(&empty_snapshot(), issuers, FRESHNESS).unwrap()
}
