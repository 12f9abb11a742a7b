//! Values of a token that have one accepted form: encoding of every part, type, audience, and the ends of its
//! time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::domain::access_token::{TokenFault, VerifiedToken};
use portcullis::domain::decide::decide;
use portcullis::domain::decision::{Decision, DenyReason};
use portcullis::domain::facts::{
    CredentialFact, RequestFacts, RouteFacts, SourceFact, UnknownSources, WithoutToken,
};
use portcullis::domain::ids::Audience;
use portcullis::domain::jws::{CompactJws, JwsError};
use portcullis::domain::policy::{AcceptedTypes, Policy};
use portcullis::domain::scope::Scope;
use portcullis::domain::time::UnixSeconds;
use portcullis::snapshot;
use serde_json::{Value, json};

use crate::model::{App, Issuer, World};
use crate::signers::signer;

const NOW: u64 = 1_795_000_000;
const OUTSIDE: &str = "https://login.partner.test";
const LEEWAY_S: u64 = 5;

/// A policy that trusts one outside issuer, with these types and audiences.
fn policy(types: AcceptedTypes, audiences: &[&str]) -> Policy {
    let issuer = Issuer {
        bundled: false,
        audiences: Vec::new(),
        leeway_s: LEEWAY_S,
        keys: vec!["ed-1".to_owned()],
        keys_fetched: true,
        lifetime_max_s: None,
        any_type: false,
    };
    let app = App {
        issuer: OUTSIDE.to_owned(),
        scopes: vec!["tracking_api:write".to_owned()],
        keys: Vec::new(),
        not_issued_before: 0,
        keys_not_issued_before: [].into(),
        workspace: "ws-1".to_owned(),
    };
    let world = World {
        confirmed_at: NOW,
        max_age_s: 86_400,
        when_stale: "deny".to_owned(),
        issuers: [(OUTSIDE.to_owned(), issuer)].into(),
        apps: [("orders".to_owned(), app)].into(),
        workspaces: [].into(),
        sources: [].into(),
        revoked: Vec::new(),
    };
    let mut outside = world.outside();
    outside[0].types = types;
    outside[0].audiences = audiences
        .iter()
        .map(|audience| Audience::parse(audience).unwrap())
        .collect();
    snapshot::compile(&world.snapshot(1), &outside, world.freshness()).unwrap()
}

fn of_type(types: &[&str]) -> AcceptedTypes {
    AcceptedTypes::Listed(types.iter().copied().map(str::to_owned).collect())
}

fn token(typ: Option<&str>, changes: &Value) -> String {
    let mut header = json!({"alg": "EdDSA", "kid": "ed-1"});
    if let Some(typ) = typ {
        header["typ"] = json!(typ);
    }
    let mut claims = json!({
        "iss": OUTSIDE, "sub": "orders", "client_id": "orders", "aud": "gateway", "iat": NOW - 10,
        "exp": NOW + 3_600, "jti": "token-1", "scope": "tracking_api:write",
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    signer("ed-1").sign(&header, &claims)
}

fn answer(policy: &Policy, changes: &Value) -> Result<(), DenyReason> {
    let token = VerifiedToken::verify(&token(Some("at+jwt"), changes), policy).unwrap();
    let scope = Scope::parse("tracking_api:write").unwrap();
    let facts = RequestFacts {
        route: RouteFacts {
            scope: &scope,
            unknown_sources: UnknownSources::Deny,
            without_token: WithoutToken::Deny,
        },
        source: SourceFact::ByToken,
        credential: CredentialFact::Verified(&token),
    };
    match decide(policy, &facts, UnixSeconds(NOW)) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) => Err(reason),
    }
}

/// The last character of a part may carry bits that no byte needs: two texts would be one token.
#[test]
fn spare_bits_are_refused_in_every_part() {
    let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = encoded(r#"{"alg":"EdDSA","kid":"ed-1"}"#);
    let payload = encoded(r#"{"a":1}"#);
    let good = [header.as_str(), payload.as_str(), "AA"];
    assert!(CompactJws::parse(&good.join(".")).is_ok());
    for part in 0..3 {
        let held = good[part];
        assert_ne!(held.len() % 4, 0, "the part has spare bits");
        let last = held.chars().last().unwrap();
        let mut parts = good;
        let odd = format!("{}{}", &held[..held.len() - 1], char::from(last as u8 + 1));
        parts[part] = &odd;
        let refused = CompactJws::parse(&parts.join(".")).err();
        assert_eq!(refused, Some(JwsError::Shape), "part {part}");
        let padded = format!("{held}{}", "=".repeat(4 - held.len() % 4));
        parts[part] = &padded;
        assert_eq!(CompactJws::parse(&parts.join(".")).err(), Some(JwsError::Shape));
    }
}

#[test]
fn an_outside_issuer_has_the_types_it_is_configured_with() {
    let check = |types: AcceptedTypes, typ: Option<&str>| {
        VerifiedToken::verify(&token(typ, &json!({})), &policy(types, &["gateway"])).err()
    };
    for (types, typ, is_good) in [
        (of_type(&["at+jwt"]), Some("at+jwt"), true),
        (of_type(&["at+jwt"]), Some("JWT"), false),
        (of_type(&["at+jwt"]), None, false),
        (of_type(&["JWT", "at+jwt"]), Some("jwt"), true),
        (of_type(&["JWT", "at+jwt"]), Some("application/at+jwt"), true),
        (of_type(&["JWT", "at+jwt"]), Some("dpop+jwt"), false),
        (of_type(&["JWT"]), None, false),
        (of_type(&[]), Some("at+jwt"), false),
        (AcceptedTypes::Any, None, true),
        (AcceptedTypes::Any, Some("any+jwt"), true),
    ] {
        let expected = (!is_good).then_some(TokenFault::Type);
        assert_eq!(check(types.clone(), typ), expected, "{types:?} {typ:?}");
    }
}

#[test]
fn an_audience_is_compared_as_it_stands() {
    let policy = policy(of_type(&["at+jwt"]), &["gateway", "https://events.test/"]);
    for good in [
        json!("gateway"),
        json!("https://events.test/"),
        json!(["gateway"]),
        json!(["else", "gateway"]),
    ] {
        assert_eq!(answer(&policy, &json!({ "aud": good })), Ok(()), "{good}");
    }
    for odd in [
        json!("Gateway"),
        json!("gateway "),
        json!("gateway/"),
        json!("gatewa"),
        json!("gateway2"),
        json!("https://events.test"),
        json!("*"),
        json!(""),
        json!("gateway,else"),
        json!(["gateway else"]),
        json!(["else"]),
    ] {
        let answer = answer(&policy, &json!({ "aud": odd }));
        assert_eq!(answer, Err(DenyReason::TokenAudienceMismatch), "{odd}");
    }
}

/// One leeway, to the second, at both ends.
#[test]
fn leeway_is_the_same_at_both_ends() {
    let policy = policy(of_type(&["at+jwt"]), &["gateway"]);
    let early = Err(DenyReason::TokenNotYetValid);
    for (changes, expected) in [
        (json!({"exp": NOW - LEEWAY_S + 1}), Ok(())),
        (json!({"exp": NOW - LEEWAY_S}), Err(DenyReason::TokenExpired)),
        (json!({"iat": NOW + LEEWAY_S}), Ok(())),
        (json!({"iat": NOW + LEEWAY_S + 1}), early),
        (json!({"nbf": NOW + LEEWAY_S}), Ok(())),
        (json!({"nbf": NOW + LEEWAY_S + 1}), early),
    ] {
        assert_eq!(answer(&policy, &changes), expected, "{changes}");
    }
}
