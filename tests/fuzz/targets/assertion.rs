//! Client assertions with a good signature: each accepted one keeps the rules, with dates read a second way.

use portcullis::domain::client_assertion::{
    ASSERTION_LEEWAY_S, ASSERTION_LIFETIME_MAX_S, AssertionError, AssertionRules, UnverifiedAssertion,
};
use portcullis::domain::time::UnixSeconds;
use serde_json::Value;

use super::claims::members;
use super::common::{in_linear_work, signed, verifying_key};

const NOW: u64 = 1_795_000_000;
const AUDIENCES: [&str; 2] = ["https://auth.test", "https://auth.test/token"];

pub fn run(data: &[u8]) {
    if data.len() > 4_096 {
        return;
    }
    let token = signed("JWT", data);
    let Ok(assertion) = UnverifiedAssertion::parse(&token) else {
        return;
    };
    thread_local! {
        static KEYS: [portcullis::domain::key::VerifyingKey; 1] = [verifying_key()];
    }
    let rules = AssertionRules {
        audiences: &AUDIENCES,
        lifetime_max_s: ASSERTION_LIFETIME_MAX_S,
    };
    let verify = |keys: &[_; 1]| assertion.verify(keys, rules, UnixSeconds(NOW));
    let verified = in_linear_work(token.len(), || KEYS.with(verify));
    assert_ne!(verified, Err(AssertionError::Signature), "we signed it");
    let Ok(verified) = verified else { return };
    let claims = members(data).expect("accepted, and not one object with each member once");
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let ours = |url: &str| AUDIENCES.contains(&url.strip_suffix('/').unwrap_or(url));
    assert_eq!(text("sub"), Some(verified.app.as_str()));
    let audience = match &claims["aud"] {
        Value::Array(list) if list.len() == 1 => list[0].as_str(),
        other => other.as_str(),
    };
    assert!(audience.is_some_and(ours), "another audience");
    assert!(
        !claims.contains_key("iss")
            || text("iss").is_some_and(|iss| iss == verified.app.as_str() || ours(iss)),
        "another issuer"
    );
    assert!(
        claims
            .get("jti")
            .is_none_or(|jti| jti.is_string() || jti.is_u64()),
        "an odd jti"
    );
    let date = |name: &str| {
        let held = claims.get(name)?;
        held.as_f64().or_else(|| held.as_str()?.parse().ok())
    };
    let (issued, expires) = (date("iat"), date("exp").unwrap());
    #[allow(clippy::cast_precision_loss, reason = "the moments are far below 2^53")]
    let (now, leeway, longest) = (
        NOW as f64,
        ASSERTION_LEEWAY_S as f64,
        ASSERTION_LIFETIME_MAX_S as f64,
    );
    // Dates are cut to whole seconds: one of tolerance.
    assert!(expires + leeway > now, "expired");
    assert!(
        issued.is_none_or(|issued| issued <= now + leeway + 1.0),
        "from the future"
    );
    let from = issued.unwrap_or(now + leeway);
    assert!(expires - from <= longest + 1.0, "lives too long");
    assert!(verified.expires_at > UnixSeconds(NOW));
}
