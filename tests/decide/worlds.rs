//! Random worlds and requests. Names, keys and moments are drawn from a handful each, so that they meet often.

use std::collections::BTreeMap;

use portcullis::domain::decision::DenyReason;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::model::{App, Issuer, Revoked, Source, World};
use super::request::{Credential, Fault, Named, Request, Token};

pub const NOW: u64 = 1_795_000_000;
pub const OWN: &str = "https://auth.test";
pub const OUTSIDE: &str = "https://login.partner.test";
pub const ISSUERS: [&str; 3] = [OWN, OUTSIDE, "https://stranger.test"];
pub const SIGNERS: [&str; 3] = ["ed-1", "ed-2", "ed-3"];
pub const APPS: [&str; 3] = ["orders", "billing", "partner"];
pub const APP_KEYS: [&str; 2] = ["app-key-1", "app-key-2"];
pub const WORKSPACES: [&str; 2] = ["ws-1", "ws-2"];
pub const WRITE_KEYS: [&str; 3] = ["wk-1", "wk-2", "wk-3"];
pub const SCOPES: [&str; 2] = ["tracking_api:write", "functions:write"];
pub const AUDIENCES: [&str; 3] = ["https://gateway.test", "partner-api", "else"];
pub const TOKEN_IDS: [&str; 3] = ["token-1", "token-2", "token-3"];

pub fn one_of(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(names).prop_map(str::to_owned)
}

pub fn some_of(names: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    subsequence(names, 0..=names.len()).prop_map(|held| held.into_iter().map(str::to_owned).collect())
}

/// Mostly all of them: a world where everything is missing answers one thing only.
pub fn most_of(names: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    let all: Vec<String> = names.iter().copied().map(str::to_owned).collect();
    prop_oneof![3 => Just(all), 1 => some_of(names)]
}

pub fn moment() -> impl Strategy<Value = u64> {
    NOW - 12..=NOW + 12
}

/// A moment that is usually out of the way.
pub fn moment_or(usual: u64) -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(usual), 1 => moment(), 1 => Just(0), 1 => Just(u64::MAX)]
}

pub fn own_issuer() -> impl Strategy<Value = Issuer> {
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

pub fn outside_issuer() -> impl Strategy<Value = Issuer> {
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

pub fn issuers() -> impl Strategy<Value = BTreeMap<String, Issuer>> {
    let own = prop::option::weighted(0.9, own_issuer());
    let outside = prop::option::weighted(0.7, outside_issuer());
    (own, outside).prop_map(|(own, outside)| {
        let own = own.map(|issuer| (OWN.to_owned(), issuer));
        let outside = outside.map(|issuer| (OUTSIDE.to_owned(), issuer));
        own.into_iter().chain(outside).collect()
    })
}

pub fn app() -> impl Strategy<Value = App> {
    let issuer = prop_oneof![3 => Just(OWN.to_owned()), 1 => one_of(&ISSUERS)];
    let of_keys = btree_map(one_of(&APP_KEYS), moment_or(0), 0..2);
    (
        issuer,
        most_of(&SCOPES),
        most_of(&APP_KEYS),
        moment_or(0),
        of_keys,
        one_of(&WORKSPACES),
    )
        .prop_map(
            |(issuer, scopes, keys, not_issued_before, keys_not_issued_before, workspace)| App {
                issuer,
                scopes,
                keys,
                not_issued_before,
                keys_not_issued_before,
                workspace,
            },
        )
}

pub fn source(write_key: &str) -> impl Strategy<Value = Source> + use<> {
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

pub fn sources() -> impl Strategy<Value = BTreeMap<String, Source>> {
    let one =
        |key: &'static str| prop::option::weighted(0.8, source(key).prop_map(|held| (key.to_owned(), held)));
    (one(WRITE_KEYS[0]), one(WRITE_KEYS[1]), one(WRITE_KEYS[2]))
        .prop_map(|(a, b, c)| a.into_iter().chain(b).chain(c).collect())
}

pub fn revoked() -> impl Strategy<Value = Revoked> {
    (one_of(&ISSUERS), one_of(&TOKEN_IDS)).prop_map(|(issuer, token_id)| Revoked { issuer, token_id })
}

pub fn world() -> impl Strategy<Value = World> {
    (
        moment_or(NOW),
        prop_oneof![4 => Just(86_400), 1 => 0_u64..12],
        select(&["deny", "allow"][..]),
        issuers(),
        btree_map(one_of(&APPS), app(), 0..=APPS.len()),
        btree_map(one_of(&WORKSPACES), moment_or(0), 0..2),
        sources(),
        vec(revoked(), 0..3),
    )
        .prop_map(
            |(confirmed_at, max_age_s, when_stale, issuers, apps, workspaces, sources, revoked)| World {
                confirmed_at,
                max_age_s,
                when_stale: when_stale.to_owned(),
                issuers,
                apps,
                workspaces,
                sources,
                revoked,
            },
        )
}

pub fn token() -> impl Strategy<Value = Token> {
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

pub fn credential() -> impl Strategy<Value = Credential> {
    let fault = select(
        &[
            Fault::Claim,
            Fault::Type,
            Fault::IssuerUntrusted,
            Fault::KeyUnknown,
            Fault::KeysUnavailable,
            Fault::SignatureInvalid,
            Fault::ProofMissing,
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

pub fn request() -> impl Strategy<Value = Request> {
    let named = prop_oneof![
        6 => one_of(&WRITE_KEYS).prop_map(Named::WriteKey),
        3 => Just(Named::ByToken),
        3 => (one_of(&WRITE_KEYS), any::<bool>())
            .prop_map(|(key, is_credential)| Named::ByTokenBeside(key, is_credential)),
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
