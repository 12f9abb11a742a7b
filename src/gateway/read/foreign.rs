//! Credentials of others: tokens of issuers that are not trusted here, which the upstream may know.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::domain::jws::looks_like_jws;
use crate::domain::policy::Policy;

/// Padding and bits left over are what some encoders add.
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
}

/// Whether a credential is none of a trusted issuer, and so may go upstream where nothing is enforced. One that may be
/// a trusted issuer's, but is damaged or repeats its members, is not.
#[must_use]
pub fn is_foreign(credential: &str, policy: &Policy) -> bool {
    if !looks_like_jws(credential) {
        return true;
    }
    let payload = credential.split('.').nth(1).unwrap_or_default();
    let Ok(payload) = FORGIVING.decode(payload) else {
        return true;
    };
    match serde_json::from_slice::<Claims>(&payload) {
        Ok(Claims { iss: Some(issuer) }) => policy.issuer(&issuer).is_none(),
        Ok(Claims { iss: None }) => true,
        Err(_) => serde_json::from_slice::<IgnoredAny>(&payload).is_err(),
    }
}
