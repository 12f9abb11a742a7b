//! The claims of an access token with a good signature: accepted exactly where a plain reading of RFC 9068 and
//! of our rules accepts them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use portcullis::domain::access_token::{TOKEN_ID_BYTES_MAX, VerifiedToken};
use portcullis::domain::claim_names::ClaimNames;
use portcullis::domain::ids::{AppId, Audience, KeyId};
use portcullis::domain::json::MEMBERS_MAX;
use portcullis::domain::policy::{AcceptedTypes, Policy, TrustedIssuer};
use portcullis::domain::scope::ScopeSet;
use serde_json::Value;
use serde_json::value::RawValue;

use super::common::{in_linear_work, policy_of, signed, verifying_key};
use super::scan::Members;

const ISSUER: &str = "https://auth.test";
const LIFETIME_MAX_S: u64 = 3_600;

pub fn policy() -> &'static Policy {
    static POLICY: LazyLock<Policy> = LazyLock::new(|| {
        let issuer = TrustedIssuer {
            issuer: ISSUER.into(),
            audiences: vec![Audience::parse("https://gateway.test").unwrap()],
            types: AcceptedTypes::Listed(vec!["at+jwt".to_owned()]),
            claims: ClaimNames::own(),
            leeway_s: 5,
            lifetime_max_s: Some(LIFETIME_MAX_S),
            keys: Some(vec![verifying_key()].into()),
        };
        policy_of(&[issuer])
    });
    &POLICY
}

pub fn run(data: &[u8]) {
    // More does not fit into a token.
    if data.len() > 4_096 {
        return;
    }
    let token = signed("at+jwt", data);
    let ours = in_linear_work(token.len(), || VerifiedToken::verify(&token, policy()));
    let expected = members(data).filter(|claims| is_acceptable(claims).is_some());
    match (&ours, expected) {
        (Ok(token), Some(claims)) => {
            let expires = claims["exp"]
                .as_u64()
                .or(claims["exp"].as_f64().map(|date| date as u64));
            assert_eq!(expires, Some(token.expires_at().0));
            assert_eq!(claims["client_id"], token.app().as_str());
        }
        (Ok(_), None) => panic!("accepted, and a plain reading refuses it"),
        (Err(fault), Some(_)) => panic!("refused ({fault}), and a plain reading accepts it"),
        (Err(_), None) => {}
    }
}

/// One object's members, each once, at every depth.
pub fn members(data: &[u8]) -> Option<BTreeMap<String, Value>> {
    let text = std::str::from_utf8(data).ok()?;
    let members = serde_json::from_str(text).ok()?;
    is_unique(text).then_some(members)
}

fn is_unique(text: &str) -> bool {
    if let Ok(Members(members)) = serde_json::from_str(text) {
        let names: BTreeSet<_> = members.iter().map(|(name, _)| name).collect();
        return names.len() == members.len()
            && members.len() <= MEMBERS_MAX
            && members.iter().all(|(_, value)| is_unique(value.get()));
    }
    serde_json::from_str::<Vec<&RawValue>>(text)
        .map_or(true, |list| list.iter().all(|element| is_unique(element.get())))
}

fn is_acceptable(claims: &BTreeMap<String, Value>) -> Option<()> {
    let text = |name: &str| claims.get(name)?.as_str();
    // Seconds, with or without a fraction, not negative.
    let date = |name: &str| {
        let value = claims.get(name)?;
        let number = value.as_f64().filter(|number| *number >= 0.0)?;
        Some(value.as_u64().unwrap_or(number as u64))
    };
    let check = |holds: bool| holds.then_some(());
    check(text("iss")? == ISSUER)?;
    AppId::parse(text("client_id")?).ok()?;
    check(text("sub")? == text("client_id")?)?;
    check(!claims.contains_key("cnf"))?;
    check((1..=TOKEN_ID_BYTES_MAX).contains(&text("jti")?.len()))?;
    match claims.get("aud")? {
        Value::String(_) => {}
        Value::Array(list) => check(!list.is_empty() && list.iter().all(Value::is_string))?,
        _ => return None,
    }
    let (issued, expires) = (date("iat")?, date("exp")?);
    check(expires.saturating_sub(issued) <= LIFETIME_MAX_S)?;
    if claims.contains_key("nbf") {
        date("nbf")?;
    }
    if claims.contains_key("scope") {
        ScopeSet::parse(text("scope")?).ok()?;
    }
    if claims.contains_key("client_key_id") {
        KeyId::parse(text("client_key_id")?).ok()?;
    }
    Some(())
}
