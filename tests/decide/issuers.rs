//! A change of our own issuer: it takes the place of the one before, and never that of an outside issuer.

use std::collections::BTreeMap;

use portcullis::domain::ids::KeyId;
use portcullis::domain::policy::{Freshness, Policy};
use portcullis::snapshot;
use portcullis::snapshot::{Change, Changes, InvalidSnapshot};

use crate::model::{Issuer, World};

const OWN: &str = "https://auth.test";
const OUTSIDE: &str = "https://login.partner.test";

fn issuer(bundled: bool, key: &str) -> Issuer {
    Issuer {
        bundled,
        audiences: vec!["https://gateway.test".to_owned()],
        leeway_s: 5,
        keys: vec![key.to_owned()],
        keys_fetched: true,
        lifetime_max_s: None,
        any_type: false,
    }
}

fn world(issuers: &[(&str, Issuer)]) -> World {
    World {
        confirmed_at: 1_795_000_000,
        max_age_s: 86_400,
        when_stale: "deny".to_owned(),
        issuers: issuers
            .iter()
            .map(|(name, held)| ((*name).to_owned(), held.clone()))
            .collect(),
        apps: BTreeMap::new(),
        workspaces: BTreeMap::new(),
        sources: BTreeMap::new(),
        revoked: Vec::new(),
    }
}

fn put(policy: &Policy, name: &str, held: &Issuer) -> Result<Policy, InvalidSnapshot> {
    let changes = Changes {
        version: policy.version() + 1,
        issued_at: 1_795_000_000,
        changes: vec![Change::PutIssuer(held.record(name))],
    };
    snapshot::apply(policy, &changes)
}

fn names(policy: &Policy) -> Vec<&str> {
    policy.issuers().iter().map(|held| &*held.issuer).collect()
}

#[test]
fn put_issuer_replaces_our_own_issuer_under_any_name() {
    let policy = world(&[(OWN, issuer(true, "ed-1")), (OUTSIDE, issuer(false, "ed-2"))]).policy();
    let renamed = put(&policy, "https://auth2.test", &issuer(true, "ed-3")).unwrap();
    assert_eq!(names(&renamed), ["https://auth2.test", OUTSIDE]);
    let again = put(&renamed, "https://auth2.test", &issuer(true, "ed-1")).unwrap();
    assert_eq!(names(&again), ["https://auth2.test", OUTSIDE]);
    assert_eq!(names(&policy), [OWN, OUTSIDE], "the policy before is what it was");
}

#[test]
fn put_issuer_never_replaces_an_outside_issuer() {
    let both = world(&[(OWN, issuer(true, "ed-1")), (OUTSIDE, issuer(false, "ed-2"))]).policy();
    let outside_alone = world(&[(OUTSIDE, issuer(false, "ed-2"))]).policy();
    for policy in [&both, &outside_alone] {
        let refused = put(policy, OUTSIDE, &issuer(true, "ed-3")).unwrap_err();
        assert_eq!(refused.field, "changes[0].issuer.issuer");
        let held = policy.issuer(OUTSIDE).unwrap();
        assert!(held.keys.as_ref().unwrap().has(&KeyId::parse("ed-2").unwrap()));
    }
    // As a snapshot of it is refused.
    let snapshot = world(&[(OUTSIDE, issuer(true, "ed-3"))]).snapshot(2);
    let outside = world(&[(OUTSIDE, issuer(false, "ed-2"))]).outside();
    let refused = snapshot::compile(&snapshot, &outside, freshness()).unwrap_err();
    assert_eq!(refused.field, "issuer.issuer");
    let first = put(&outside_alone, OWN, &issuer(true, "ed-1")).unwrap();
    assert_eq!(
        names(&first),
        [OWN, OUTSIDE],
        "without an own issuer before, it becomes the first"
    );
}

fn freshness() -> Freshness {
    world(&[]).freshness()
}
