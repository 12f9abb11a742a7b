//! `decide` allocates nothing, for any answer. The counter replaces this binary's allocator and counts by thread, so
//! tests on other threads do not disturb it.

use portcullis::domain::access_token::{TokenFault, VerifiedToken};
use portcullis::domain::decide::decide;
use portcullis::domain::decision::{Decision, DenyReason};
use portcullis::domain::facts::{
    CredentialFact, RequestFacts, RouteFacts, SourceFact, UnknownSources, WithoutToken,
};
use portcullis::domain::ids::WriteKeyDigest;
use portcullis::domain::policy::Policy;
use portcullis::domain::scope::Scope;
use portcullis::domain::time::UnixSeconds;
use portcullis::snapshot;

use crate::forge::{self, Forge, NOW};
use crate::model::Answer;

fn key(n: usize) -> SourceFact {
    SourceFact::WriteKey(WriteKeyDigest::of(forge::write_key(n).as_bytes()))
}

/// 300 sources: enough for the indexes to have inner nodes. Of the first two, one is observed and one
/// not enforced.
fn policy(forge: &Forge) -> Policy {
    let mut snapshot = forge.snapshot(300, 300);
    snapshot.sources[0].enforcement = "observe".to_owned();
    snapshot.sources[1].enforcement = "off".to_owned();
    snapshot::compile(&snapshot, &[], forge::FRESHNESS).unwrap()
}

fn word(decision: Decision) -> String {
    match decision.into() {
        Answer::Permit { mode, .. } => format!("permit {}", mode.as_str()),
        Answer::Deny(reason) => reason.as_str().to_owned(),
    }
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1_u64))));
    assert_eq!(counted.count_total, 1);
}

#[test]
fn no_answer_allocates() {
    let forge = Forge::new();
    let policy = policy(&forge);
    let scope = Scope::parse(forge::SCOPE).unwrap();
    let other_scope = Scope::parse("functions:write").unwrap();
    let good: Vec<VerifiedToken> = (0..3).map(|n| forge.token(&policy, n, "good")).collect();
    let revoked = forge.token(&policy, 2, "revoked-7");
    let fault = TokenFault::SignatureInvalid;
    let verified = CredentialFact::Verified;
    let late = NOW.plus(10_000);
    let stale = NOW.plus(1_000_000);
    let unknown = SourceFact::WriteKey(WriteKeyDigest::of(b"nobody"));
    let unreadable = SourceFact::Unreadable(DenyReason::SourceMissing);
    let cases: [(&str, SourceFact, CredentialFact<'_>, &Scope, UnixSeconds); 15] = [
        ("permit enforced", key(2), verified(&good[2]), &scope, NOW),
        ("permit observed", key(0), verified(&good[0]), &scope, NOW),
        ("permit observed", key(0), CredentialFact::Missing, &scope, NOW),
        ("permit unenforced", key(1), CredentialFact::Missing, &scope, NOW),
        (
            "permit enforced",
            SourceFact::ByToken,
            verified(&good[2]),
            &scope,
            NOW,
        ),
        (
            "credentials_conflict",
            key(2),
            CredentialFact::Conflicting,
            &scope,
            NOW,
        ),
        ("source_missing", unreadable, CredentialFact::Missing, &scope, NOW),
        ("source_unknown", unknown, verified(&good[2]), &scope, NOW),
        ("policy_stale", key(2), verified(&good[2]), &scope, stale),
        ("token_missing", key(2), CredentialFact::Missing, &scope, NOW),
        (
            "token_signature_invalid",
            key(2),
            CredentialFact::Faulty(&fault),
            &scope,
            NOW,
        ),
        ("token_expired", key(2), verified(&good[2]), &scope, late),
        ("token_revoked", key(2), verified(&revoked), &scope, NOW),
        ("app_not_connected", key(2), verified(&good[1]), &scope, NOW),
        (
            "scope_insufficient",
            key(2),
            verified(&good[2]),
            &other_scope,
            NOW,
        ),
    ];
    for (expected, source, credential, scope, now) in cases {
        let route = RouteFacts {
            scope,
            unknown_sources: UnknownSources::Deny,
            without_token: WithoutToken::Deny,
        };
        let facts = RequestFacts {
            route,
            source,
            credential,
        };
        let mut decision = None;
        let counted = allocation_counter::measure(|| decision = Some(decide(&policy, &facts, now)));
        assert_eq!(counted.count_total, 0, "{expected}: {counted:?}");
        assert_eq!(word(decision.unwrap()), expected);
    }
}
