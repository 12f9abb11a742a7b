//! Tokens that must not verify, and the fault each of them has: forged, damaged, confused, oversized.

mod claims;
mod form;
mod independent_library;
mod signatures;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::domain::access_token::{TokenFault, VerifiedToken};
use portcullis::domain::decide::decide;
use portcullis::domain::decision::{Decision, DenyReason};
use portcullis::domain::facts::{
    CredentialFact, RequestFacts, RouteFacts, SourceFact, UnknownSources, WithoutToken,
};
use portcullis::domain::ids::KeyId;
use portcullis::domain::json::JsonError;
use portcullis::domain::jws::{CompactJws, JwsError};
use portcullis::domain::key::Algorithm;
use portcullis::domain::policy::Policy;
use portcullis::domain::scope::Scope;
use portcullis::domain::time::UnixSeconds;
use serde_json::{Value, json};

use crate::model::{App, Issuer, World};
use crate::signers::signer;

const NOW: u64 = 1_795_000_000;
const ISSUER: &str = "https://auth.test";
const OTHER_ISSUER: &str = "https://login.partner.test";
const KEYS: [&str; 4] = ["rs-1", "ps-1", "es-1", "ed-1"];
const THIRTY_DAYS: u64 = 30 * 86_400;

/// Two issuers: ours with a key of each kind, and another with one key and no limit on lifetimes.
fn world() -> World {
    let issuer = |bundled, leeway_s, keys: &[&str]| Issuer {
        bundled,
        audiences: vec!["https://gateway.test".to_owned()],
        leeway_s,
        keys: keys.iter().copied().map(str::to_owned).collect(),
        keys_fetched: true,
        lifetime_max_s: None,
        any_type: !bundled,
    };
    let app = App {
        issuer: ISSUER.to_owned(),
        scopes: vec!["tracking_api:write".to_owned()],
        keys: vec!["app-key-1".to_owned()],
        not_issued_before: 0,
        keys_not_issued_before: [].into(),
        workspace: "ws-1".to_owned(),
    };
    World {
        confirmed_at: NOW,
        max_age_s: 86_400,
        when_stale: "deny".to_owned(),
        issuers: [
            (ISSUER.to_owned(), issuer(true, 5, &KEYS)),
            (OTHER_ISSUER.to_owned(), issuer(false, 0, &["rs-9"])),
        ]
        .into(),
        apps: [("orders".to_owned(), app)].into(),
        workspaces: [].into(),
        sources: [].into(),
        revoked: Vec::new(),
    }
}

fn policy() -> &'static Policy {
    static POLICY: LazyLock<Policy> = LazyLock::new(|| world().policy());
    &POLICY
}

fn header(key: &str) -> Value {
    let algorithm = match &key[..2] {
        "rs" => "RS256",
        "ps" => "PS256",
        "es" => "ES256",
        _ => "EdDSA",
    };
    json!({"alg": algorithm, "kid": key, "typ": "at+jwt"})
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "orders", "client_id": "orders", "aud": "https://gateway.test",
        "iat": NOW - 10, "exp": NOW + 3_600, "jti": "token-1", "scope": "tracking_api:write",
        "workspace_id": "ws-1", "client_key_id": "app-key-1",
    })
}

/// `object` with these members put in or, where they are `null`, taken out.
fn with(mut object: Value, changes: Value) -> Value {
    let (Some(members), Value::Object(changes)) = (object.as_object_mut(), changes) else {
        panic!("changes are made to an object, by an object");
    };
    members.extend(changes);
    members.retain(|_, value| !value.is_null());
    object
}

fn good(key: &str) -> String {
    signer(key).sign(&header(key), &claims())
}

fn verify(token: &str) -> Result<VerifiedToken, TokenFault> {
    VerifiedToken::verify(token, policy())
}

/// The fault of a token, which must have one. Tokens stay out of the test's output.
fn fault(token: &str) -> TokenFault {
    verify(token).expect_err("a token verified that must not")
}

fn fault_of_header(changes: Value) -> TokenFault {
    fault(&signer("rs-1").sign(&with(header("rs-1"), changes), &claims()))
}

fn fault_of_claims(changes: Value) -> TokenFault {
    fault(&signer("rs-1").sign(&header("rs-1"), &with(claims(), changes)))
}

/// The fault of a token without the claim. Issuers may name some claims otherwise.
fn missing(name: &'static str) -> TokenFault {
    match name {
        "aud" | "client_id" | "jti" => TokenFault::ClaimMissing(format!("`{name}`").into()),
        _ => TokenFault::Claims(JsonError::Missing(name)),
    }
}

fn wrong_type(name: &'static str) -> TokenFault {
    match name {
        "aud" | "client_id" | "jti" | "scope" => TokenFault::ClaimType(name.into()),
        _ => TokenFault::Claims(JsonError::Type(name)),
    }
}

fn malformed(error: JwsError) -> TokenFault {
    TokenFault::Malformed(error)
}

/// Header, payload and signature of a token, still encoded.
fn parts(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().unwrap()
}

/// A good token with another signature.
fn with_signature(key: &str, signature: &[u8]) -> String {
    let token = good(key);
    let [header, payload, _] = parts(&token);
    format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn good_tokens_of_every_algorithm_verify() {
    for key in KEYS {
        assert!(verify(&good(key)).is_ok(), "{key}");
    }
}

#[test]
fn the_key_id_must_be_one() {
    for (odd, expected) in [
        (json!(null), JwsError::Header(JsonError::Missing("kid"))),
        (json!(1), JwsError::Header(JsonError::Type("kid"))),
        (json!(["rs-1"]), JwsError::Header(JsonError::Type("kid"))),
        (json!(""), JwsError::KeyId),
        (json!("rs-1\n"), JwsError::KeyId),
        (json!("rs-1\u{0}"), JwsError::KeyId),
        (json!("x".repeat(257)), JwsError::KeyId),
    ] {
        assert_eq!(fault_of_header(json!({ "kid": odd })), malformed(expected));
    }
    // Any other text may be an issuer's key id (RFC 7515 section 4.1.4), and none of these is.
    for other in ["rs-1 ", "' OR 1=1 --", "rs-1#", "schlüssel", &"x".repeat(256)] {
        let unknown = TokenFault::KeyUnknown {
            issuer: ISSUER.into(),
        };
        assert_eq!(fault_of_header(json!({ "kid": other })), unknown, "{other}");
    }
}

#[test]
fn keys_are_looked_up_in_their_own_issuer_only() {
    let unknown = |issuer: &str| TokenFault::KeyUnknown {
        issuer: issuer.into(),
    };
    for kid in ["rs-2", "rs-9", "RS-1", "../../rs-1", "/dev/null"] {
        assert_eq!(fault_of_header(json!({ "kid": kid })), unknown(ISSUER), "{kid}");
    }
    let of_other = with(claims(), json!({"iss": OTHER_ISSUER}));
    assert!(verify(&signer("rs-9").sign(&header("rs-9"), &of_other)).is_ok());
    // A trusted key, under its own id, for an issuer that it does not belong to.
    assert_eq!(
        fault(&signer("rs-9").sign(&header("rs-9"), &claims())),
        unknown(ISSUER)
    );
    assert_eq!(
        fault(&signer("rs-1").sign(&header("rs-1"), &of_other)),
        unknown(OTHER_ISSUER)
    );
    // A trusted key under the id of another issuer's key.
    assert_eq!(
        fault(&signer("rs-9").sign(&header("rs-1"), &claims())),
        TokenFault::SignatureInvalid
    );
    assert_eq!(
        fault(&signer("rs-1").sign(&header("rs-9"), &of_other)),
        TokenFault::SignatureInvalid
    );
    // A key of the same issuer under the id of its neighbour.
    assert_eq!(
        fault(&signer("ps-1").sign(&header("rs-1"), &claims())),
        TokenFault::SignatureInvalid
    );
}

#[test]
fn the_type_must_be_that_of_an_access_token() {
    for good in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        let token = signer("rs-1").sign(&with(header("rs-1"), json!({ "typ": good })), &claims());
        assert!(verify(&token).is_ok(), "{good}");
    }
    for odd in [
        json!(null),
        json!("JWT"),
        json!(""),
        json!("jwt"),
        json!("at+jwt "),
        json!("at+jwt;v=1"),
        json!("application/application/at+jwt"),
        json!("text/at+jwt"),
        json!("id_token+jwt"),
        json!("dpop+jwt"),
        json!("statuslist+jwt"),
        json!("client-authentication+jwt"),
    ] {
        assert_eq!(fault_of_header(json!({ "typ": odd })), TokenFault::Type, "{odd}");
    }
    assert_eq!(
        fault_of_header(json!({"typ": ["at+jwt"]})),
        malformed(JwsError::Header(JsonError::Type("typ")))
    );
    // An issuer that does not follow RFC 9068 may be configured to need none.
    let of_other = with(claims(), json!({"iss": OTHER_ISSUER}));
    assert!(verify(&signer("rs-9").sign(&with(header("rs-9"), json!({"typ": null})), &of_other)).is_ok());
}

#[test]
fn a_token_taken_apart_says_what_it_names() {
    let token = good("es-1");
    let jws = CompactJws::parse(&token).unwrap();
    assert_eq!(
        (jws.algorithm(), jws.key_id().map(KeyId::as_str)),
        (Algorithm::Es256, Some("es-1"))
    );
    assert!(jws.has_type() && jws.is_type("at+jwt") && !jws.is_type("JWT"));
    assert_eq!(jws.unverified_claims().unwrap().text("jti"), Ok("token-1"));
    let [header, payload, _] = parts(&token);
    assert_eq!(jws.signing_input(), format!("{header}.{payload}").as_bytes());
}

fn answer(policy: &Policy, token: &VerifiedToken) -> Result<(), DenyReason> {
    let scope = Scope::parse("tracking_api:write").unwrap();
    let facts = RequestFacts {
        route: RouteFacts {
            scope: &scope,
            unknown_sources: UnknownSources::Deny,
            without_token: WithoutToken::Deny,
        },
        source: SourceFact::ByToken,
        credential: CredentialFact::Verified(token),
    };
    match decide(policy, &facts, UnixSeconds(NOW)) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) => Err(reason),
    }
}

/// A verified token may come from a cache; what it rests on may have gone since.
#[test]
fn a_removed_key_ends_its_tokens_at_once() {
    let token = verify(&good("es-1")).unwrap();
    assert_eq!(answer(policy(), &token), Ok(()));

    let mut without_key = world();
    without_key
        .issuers
        .get_mut(ISSUER)
        .unwrap()
        .keys
        .retain(|key| key != "es-1");
    assert_eq!(
        answer(&without_key.policy(), &token),
        Err(DenyReason::TokenKeyUnknown)
    );

    let mut without_issuer = world();
    without_issuer.issuers.remove(ISSUER);
    assert_eq!(
        answer(&without_issuer.policy(), &token),
        Err(DenyReason::TokenIssuerUntrusted)
    );

    // The other issuer publishes the very same key: it is not that one's token.
    let mut moved = without_key;
    moved
        .issuers
        .get_mut(OTHER_ISSUER)
        .unwrap()
        .keys
        .push("es-1".to_owned());
    assert_eq!(answer(&moved.policy(), &token), Err(DenyReason::TokenKeyUnknown));
}

/// Another key under the id of the old one is another key.
#[test]
fn a_replaced_key_ends_the_tokens_of_the_one_before() {
    let token = verify(&good("rs-1")).unwrap();
    let world = world();
    let mut snapshot = world.snapshot(2);
    let keys = &mut snapshot.issuer.as_mut().unwrap().keys;
    keys.retain(|key| key.kid.as_deref() != Some("rs-1"));
    let mut other = signer("rs-2").jwk();
    other.kid = Some("rs-1".to_owned());
    keys.push(other);
    let policy = portcullis::snapshot::compile(&snapshot, &world.outside(), world.freshness()).unwrap();
    assert_eq!(answer(&policy, &token), Err(DenyReason::TokenKeyUnknown));
    assert_eq!(
        VerifiedToken::verify(&good("rs-1"), &policy).err(),
        Some(TokenFault::SignatureInvalid)
    );
}
