//! Properties of `decide` on random worlds and requests.

use portcullis::domain::decision::{DenyReason, Mode};
use portcullis::domain::policy::Policy;
use portcullis::domain::time::UnixSeconds;
use portcullis::snapshot;
use portcullis::snapshot::{Change, Changes, digest_text};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::model::{Answer, App, Issuer, Revoked, Source, World, workspace_record};
use crate::reference;
use crate::request::{Credential, Named, Request};
use crate::worlds::{
    APPS, OWN, WORKSPACES, WRITE_KEYS, app, moment, moment_or, one_of, own_issuer, request, revoked, source,
    world,
};

/// Something that takes a right away.
#[derive(Clone, Debug)]
enum Harm {
    Revoke,
    RemoveScopeOfToken,
    RemoveScopeOfApp,
    RemoveAppKey,
    RemoveApp,
    Disconnect,
    RemoveIssuerKeys,
    RevokeAllUntil(u64),
    RevokeKeysUntil(u64),
    RevokeWorkspaceUntil(u64),
    Age(u64),
    PassExpiry,
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        Just(Harm::Revoke),
        Just(Harm::RemoveScopeOfToken),
        Just(Harm::RemoveScopeOfApp),
        Just(Harm::RemoveAppKey),
        Just(Harm::RemoveApp),
        Just(Harm::Disconnect),
        Just(Harm::RemoveIssuerKeys),
        moment().prop_map(Harm::RevokeAllUntil),
        moment().prop_map(Harm::RevokeKeysUntil),
        moment().prop_map(Harm::RevokeWorkspaceUntil),
        (0_u64..100).prop_map(Harm::Age),
        Just(Harm::PassExpiry),
    ]
}

impl Harm {
    fn apply(&self, world: &mut World, request: &mut Request) {
        let apps = world.apps.values_mut();
        match self {
            Self::Revoke => {
                if let Some(token) = request.token_mut() {
                    world.revoked.push(Revoked {
                        issuer: token.issuer.clone(),
                        token_id: token.token_id.clone(),
                    });
                }
            }
            Self::RemoveScopeOfToken => {
                if let Some(token) = request.token_mut() {
                    token.scopes.pop();
                }
            }
            Self::RemoveScopeOfApp => apps.for_each(|app| drop(app.scopes.pop())),
            Self::RemoveAppKey => apps.for_each(|app| drop(app.keys.pop())),
            Self::RevokeAllUntil(moment) => {
                apps.for_each(|app| app.not_issued_before = app.not_issued_before.max(*moment));
            }
            Self::RevokeKeysUntil(moment) => apps.for_each(|app| {
                for key in &app.keys {
                    let held = app.keys_not_issued_before.entry(key.clone()).or_default();
                    *held = (*held).max(*moment);
                }
            }),
            Self::RevokeWorkspaceUntil(moment) => {
                for workspace in WORKSPACES {
                    let held = world.workspaces.entry(workspace.to_owned()).or_default();
                    *held = (*held).max(*moment);
                }
            }
            Self::RemoveApp => drop(world.apps.pop_first()),
            Self::Disconnect => world.sources.values_mut().for_each(|source| source.app = None),
            Self::RemoveIssuerKeys => world.issuers.values_mut().for_each(|issuer| issuer.keys.clear()),
            Self::Age(seconds) => world.confirmed_at = world.confirmed_at.saturating_sub(*seconds),
            Self::PassExpiry => {
                if let Credential::Token(token) = &request.credential {
                    request.now = request.now.max(token.expires_at.saturating_add(8));
                }
            }
        }
    }
}

/// One change to a world, as the control plane publishes it.
#[derive(Clone, Debug)]
enum Step {
    PutIssuer(Issuer),
    PutApp(String, App),
    RemoveApp(String),
    PutWorkspace(String, u64),
    PutSource(String, Source),
    RemoveSource(String),
    Revoke(Revoked),
}

fn step() -> impl Strategy<Value = Step> {
    let put_source = select(&WRITE_KEYS[..])
        .prop_flat_map(|key| source(key).prop_map(move |held| Step::PutSource(key.to_owned(), held)));
    prop_oneof![
        own_issuer().prop_map(Step::PutIssuer),
        (one_of(&APPS), app()).prop_map(|(id, app)| Step::PutApp(id, app)),
        one_of(&APPS).prop_map(Step::RemoveApp),
        (one_of(&WORKSPACES), moment_or(0)).prop_map(|(id, at)| Step::PutWorkspace(id, at)),
        put_source,
        one_of(&WRITE_KEYS).prop_map(Step::RemoveSource),
        revoked().prop_map(Step::Revoke),
    ]
}

impl Step {
    fn change(&self) -> Change {
        match self {
            Self::PutIssuer(issuer) => Change::PutIssuer(issuer.record(OWN)),
            Self::PutApp(id, app) => Change::PutApp(app.record(id)),
            Self::RemoveApp(id) => Change::RemoveApp { id: id.clone() },
            Self::PutWorkspace(id, at) => Change::PutWorkspace(workspace_record((id, at))),
            Self::PutSource(key, source) => Change::PutSource(source.record(key)),
            Self::RemoveSource(key) => Change::RemoveSource {
                write_key_digest: digest_text(&portcullis::domain::ids::WriteKeyDigest::of(key.as_bytes())),
            },
            Self::Revoke(revoked) => Change::Revoke(revoked.record()),
        }
    }

    fn apply(&self, world: &mut World) {
        match self.clone() {
            Self::PutIssuer(issuer) => drop(world.issuers.insert(OWN.to_owned(), issuer)),
            Self::PutApp(id, app) => drop(world.apps.insert(id, app)),
            Self::RemoveApp(id) => drop(world.apps.remove(&id)),
            Self::PutWorkspace(id, at) => drop(world.workspaces.insert(id, at)),
            Self::PutSource(key, source) => drop(world.sources.insert(key, source)),
            Self::RemoveSource(key) => drop(world.sources.remove(&key)),
            Self::Revoke(revoked) => world.revoked.push(revoked),
        }
    }
}

fn answers(policy: &Policy, requests: &[Request]) -> Vec<Answer> {
    requests.iter().map(|request| request.decide(policy)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn decide_agrees_with_the_reference(world in world(), requests in vec(request(), 24)) {
        let policy = world.policy();
        for request in &requests {
            prop_assert_eq!(request.decide(&policy), reference::decide(&world, request), "{:?}", request);
        }
    }

    #[test]
    fn the_same_question_gets_the_same_answer(world in world(), requests in vec(request(), 8)) {
        let policy = world.policy();
        prop_assert_eq!(answers(&policy, &requests), answers(&world.policy(), &requests));
    }

    #[test]
    fn an_enforced_source_needs_a_verified_token(world in world(), requests in vec(request(), 24)) {
        let policy = world.policy();
        for request in &requests {
            let Named::WriteKey(key) = &request.source else { continue };
            let enforced = world.sources.get(key).is_some_and(|source| source.enforcement == "on");
            if let Answer::Permit { mode, app, would_deny, .. } = request.decide(&policy)
                && enforced
            {
                prop_assert!(matches!(request.credential, Credential::Token(_)));
                prop_assert_eq!((mode, would_deny), (Mode::Enforced, None));
                prop_assert!(app.is_some());
            }
        }
    }

    #[test]
    fn taking_a_right_away_never_permits(
        world in world(), requests in vec(request(), 12), harms in vec(harm(), 1..3),
    ) {
        let before = world.policy();
        for request in &requests {
            let (mut world, mut harmed) = (world.clone(), request.clone());
            harms.iter().for_each(|harm| harm.apply(&mut world, &mut harmed));
            if !request.decide(&before).is_permit() {
                prop_assert!(!harmed.decide(&world.policy()).is_permit(), "{:?}", request);
            }
        }
    }

    #[test]
    fn changes_lead_where_a_snapshot_of_their_end_leads(
        world in world(),
        versions in vec((moment(), vec(step(), 0..4)), 1..6),
        requests in vec(request(), 24),
    ) {
        let mut world = world;
        let mut policy = world.policy();
        let mut earlier = Vec::new();
        for (issued_at, steps) in &versions {
            earlier.push((policy.clone(), answers(&policy, &requests)));
            let changes = Changes {
                version: policy.version() + 1,
                issued_at: *issued_at,
                changes: steps.iter().map(Step::change).collect(),
            };
            policy = snapshot::apply(&policy, &changes).unwrap();
            steps.iter().for_each(|step| step.apply(&mut world));
            world.confirmed_at = world.confirmed_at.max(*issued_at);
            let compiled =
                snapshot::compile(&world.snapshot(policy.version()), &world.outside(), world.freshness());
            prop_assert_eq!(answers(&policy, &requests), answers(&compiled.unwrap(), &requests));
        }
        // A policy in use is never touched by what comes after it.
        for (old, before) in &earlier {
            prop_assert_eq!(&answers(old, &requests), before);
        }
    }

    #[test]
    fn a_confirmation_only_makes_a_policy_younger(
        world in world(), at in moment(), requests in vec(request(), 12),
    ) {
        let policy = world.policy();
        let confirmed = snapshot::confirm(&policy, UnixSeconds(at));
        prop_assert!(confirmed.confirmed_at() >= policy.confirmed_at());
        for request in &requests {
            let (before, after) = (request.decide(&policy), request.decide(&confirmed));
            let was_stale = before == Answer::Deny(DenyReason::PolicyStale)
                || matches!(before, Answer::Permit { would_deny: Some(DenyReason::PolicyStale), .. });
            prop_assert!(was_stale || before == after);
        }
    }
}
