//! Properties of `decide` on random worlds and requests. Names, keys and moments are drawn from a handful
//! each, so that they meet often.

use std::collections::BTreeMap;

use portcullis::domain::decision::{DenyReason, Mode};
use portcullis::domain::policy::Policy;
use portcullis::domain::time::UnixSeconds;
use portcullis::snapshot::{self, Change, Changes, digest_text};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::model::{Answer, App, Issuer, Revoked, Source, World};
use crate::reference;
use crate::request::{Credential, Fault, Named, Request, Token};

const NOW: u64 = 1_795_000_000;
const OWN: &str = "https://auth.test";
const OUTSIDE: &str = "https://login.partner.test";
const ISSUERS: [&str; 3] = [OWN, OUTSIDE, "https://stranger.test"];
const SIGNERS: [&str; 3] = ["ed-1", "ed-2", "ed-3"];
const APPS: [&str; 3] = ["orders", "billing", "partner"];
const APP_KEYS: [&str; 2] = ["app-key-1", "app-key-2"];
const WRITE_KEYS: [&str; 3] = ["wk-1", "wk-2", "wk-3"];
const SCOPES: [&str; 2] = ["tracking_api:write", "functions:write"];
const AUDIENCES: [&str; 3] = ["https://gateway.test", "partner-api", "else"];
const TOKEN_IDS: [&str; 3] = ["token-1", "token-2", "token-3"];

fn one_of(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(names).prop_map(str::to_owned)
}

fn some_of(names: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    subsequence(names, 0..=names.len()).prop_map(|held| held.into_iter().map(str::to_owned).collect())
}

/// Mostly all of them: a world where everything is missing answers one thing only.
fn most_of(names: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    let all: Vec<String> = names.iter().copied().map(str::to_owned).collect();
    prop_oneof![3 => Just(all), 1 => some_of(names)]
}

fn moment() -> impl Strategy<Value = u64> {
    NOW - 12..=NOW + 12
}

/// A moment that is usually out of the way.
fn moment_or(usual: u64) -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(usual), 1 => moment(), 1 => Just(0), 1 => Just(u64::MAX)]
}

fn own_issuer() -> impl Strategy<Value = Issuer> {
    most_of(&SIGNERS[..2]).prop_map(|keys| Issuer {
        bundled: true,
        audiences: vec![AUDIENCES[0].to_owned()],
        leeway_s: 5,
        keys,
        keys_fetched: true,
        lifetime_max_s: None,
        any_type: false,
    })
}

fn outside_issuer() -> impl Strategy<Value = Issuer> {
    (
        most_of(&SIGNERS[1..]),
        some_of(&AUDIENCES[..2]),
        0_u64..8,
        prop::bool::weighted(0.9),
    )
        .prop_map(|(keys, audiences, leeway_s, keys_fetched)| Issuer {
            bundled: false,
            audiences,
            leeway_s,
            keys,
            keys_fetched,
            lifetime_max_s: None,
            any_type: false,
        })
}

fn issuers() -> impl Strategy<Value = BTreeMap<String, Issuer>> {
    let own = prop::option::weighted(0.9, own_issuer());
    let outside = prop::option::weighted(0.7, outside_issuer());
    (own, outside).prop_map(|(own, outside)| {
        let own = own.map(|issuer| (OWN.to_owned(), issuer));
        let outside = outside.map(|issuer| (OUTSIDE.to_owned(), issuer));
        own.into_iter().chain(outside).collect()
    })
}

fn app() -> impl Strategy<Value = App> {
    let issuer = prop_oneof![3 => Just(OWN.to_owned()), 1 => one_of(&ISSUERS)];
    (issuer, most_of(&SCOPES), most_of(&APP_KEYS), moment_or(0)).prop_map(
        |(issuer, scopes, keys, not_issued_before)| App {
            issuer,
            scopes,
            keys,
            not_issued_before,
        },
    )
}

fn source(write_key: &str) -> impl Strategy<Value = Source> + use<> {
    // The id goes with the write key: two sources never share one.
    let id = format!("src-of-{write_key}");
    let enforcement = prop_oneof![1 => Just("off"), 2 => Just("observe"), 5 => Just("on")];
    (enforcement, prop::option::weighted(0.9, one_of(&APPS[..2]))).prop_map(move |(enforcement, app)| {
        Source {
            id: id.clone(),
            enforcement: enforcement.to_owned(),
            app,
        }
    })
}

fn sources() -> impl Strategy<Value = BTreeMap<String, Source>> {
    let one =
        |key: &'static str| prop::option::weighted(0.8, source(key).prop_map(|held| (key.to_owned(), held)));
    (one(WRITE_KEYS[0]), one(WRITE_KEYS[1]), one(WRITE_KEYS[2]))
        .prop_map(|(a, b, c)| a.into_iter().chain(b).chain(c).collect())
}

fn revoked() -> impl Strategy<Value = Revoked> {
    (one_of(&ISSUERS), one_of(&TOKEN_IDS)).prop_map(|(issuer, token_id)| Revoked { issuer, token_id })
}

fn world() -> impl Strategy<Value = World> {
    (
        moment_or(NOW),
        prop_oneof![4 => Just(86_400), 1 => 0_u64..12],
        select(&["deny", "allow"][..]),
        issuers(),
        btree_map(one_of(&APPS), app(), 0..=APPS.len()),
        sources(),
        vec(revoked(), 0..3),
    )
        .prop_map(
            |(confirmed_at, max_age_s, when_stale, issuers, apps, sources, revoked)| World {
                confirmed_at,
                max_age_s,
                when_stale: when_stale.to_owned(),
                issuers,
                apps,
                sources,
                revoked,
            },
        )
}

fn token() -> impl Strategy<Value = Token> {
    let who = (
        prop_oneof![4 => Just(OWN.to_owned()), 1 => one_of(&ISSUERS)],
        one_of(&SIGNERS),
        one_of(&APPS),
        prop::option::of(one_of(&APP_KEYS)),
        one_of(&TOKEN_IDS),
    );
    let what = (
        subsequence(&AUDIENCES[..], 1..=AUDIENCES.len()),
        most_of(&SCOPES),
        moment_or(NOW - 100),
        prop::option::weighted(0.2, moment()),
        moment_or(NOW + 3_600),
    );
    (who, what).prop_map(
        |(
            (issuer, signer, app, client_key, token_id),
            (audiences, scopes, issued_at, not_before, expires_at),
        )| {
            Token {
                issuer,
                signer,
                app,
                audiences: audiences.into_iter().map(str::to_owned).collect(),
                scopes,
                issued_at,
                not_before,
                expires_at,
                token_id,
                client_key,
            }
        },
    )
}

fn credential() -> impl Strategy<Value = Credential> {
    let fault = select(
        &[
            Fault::Claim,
            Fault::Type,
            Fault::IssuerUntrusted,
            Fault::KeyUnknown,
            Fault::KeysUnavailable,
            Fault::SignatureInvalid,
        ][..],
    );
    prop_oneof![
        1 => Just(Credential::Missing),
        1 => Just(Credential::Conflicting),
        1 => Just(Credential::Opaque),
        2 => fault.prop_map(Credential::Faulty),
        12 => token().prop_map(Credential::Token),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let named = prop_oneof![
        6 => one_of(&WRITE_KEYS).prop_map(Named::WriteKey),
        3 => Just(Named::ByToken),
        1 => select(DenyReason::ALL).prop_map(Named::Unreadable),
    ];
    let now = prop_oneof![8 => moment(), 1 => Just(0), 1 => Just(u64::MAX)];
    (
        now,
        one_of(&SCOPES),
        any::<bool>(),
        any::<bool>(),
        named,
        credential(),
    )
        .prop_map(
            |(now, scope, forward_unknown_sources, forward_without_token, source, credential)| Request {
                now,
                scope,
                forward_unknown_sources,
                forward_without_token,
                source,
                credential,
            },
        )
}

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
