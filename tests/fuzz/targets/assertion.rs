//! Client assertions with a good signature: whatever is accepted keeps the rules, with dates read a second way.

use portcullis::domain::client_assertion::{
    ASSERTION_LEEWAY_S, ASSERTION_LIFETIME_MAX_S, AssertionError, UnverifiedAssertion,
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
        static KEY: portcullis::domain::key::VerifyingKey = verifying_key();
    }
    let verify = |key: &_| assertion.verify(key, &AUDIENCES, UnixSeconds(NOW));
    let verified = in_linear_work(token.len(), || KEY.with(verify));
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
    assert!(claims["jti"].is_string() || claims["jti"].is_u64(), "no jti");
    let date = |name: &str| {
        let held = claims.get(name)?;
        held.as_f64().or_else(|| held.as_str()?.parse().ok())
    };
    let (issued, expires) = (date("iat").unwrap(), date("exp").unwrap());
    #[allow(clippy::cast_precision_loss, reason = "the moments are far below 2^53")]
    let (now, leeway, longest) = (
        NOW as f64,
        ASSERTION_LEEWAY_S as f64,
        ASSERTION_LIFETIME_MAX_S as f64,
    );
    // Dates are cut to whole seconds: one of tolerance.
    assert!(expires + leeway > now, "expired");
    assert!(issued <= now + leeway + 1.0, "from the future");
    assert!(expires - issued <= longest + 1.0, "lives too long");
    assert!(verified.expires_at > UnixSeconds(NOW));
}
