//! The members of apps and keys that people choose, parsed and checked.

use crate::control::error::ControlError;
use crate::control::input::moment;
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::source_kind::SUPPORTED_SCOPES;
use crate::domain::time::{TokenLifetime, UnixSeconds};

/// The longest time until a key expires, in seconds: ten years.
const KEY_LIFETIME_MAX_S: u64 = 3_653 * 86_400;

/// The scopes of an app: one of those that sources have, at least.
pub(crate) fn scopes(texts: &[String]) -> Result<ScopeSet, ControlError> {
    let supported = SUPPORTED_SCOPES.join(", ");
    if texts.is_empty() {
        return Err(ControlError::invalid(
            "scopes",
            format!("choose at least one scope of {supported}"),
        ));
    }
    let one = |text: &String| {
        let scope = Scope::parse(text)
            .ok()
            .filter(|scope| SUPPORTED_SCOPES.contains(&scope.as_str()));
        scope
            .ok_or_else(|| ControlError::invalid("scopes", format!("unknown scope; choose from {supported}")))
    };
    texts.iter().map(one).collect()
}

/// When a key expires, from a form or an API request.
pub(super) fn key_expiry(text: &str, field: &str, now: UnixSeconds) -> Result<UnixSeconds, ControlError> {
    let at = moment(text, field)?;
    if at <= now || at > now.plus(KEY_LIFETIME_MAX_S) {
        let problem = "choose an expiry in the future, at most ten years from now";
        return Err(ControlError::invalid(field, problem));
    }
    Ok(at)
}

/// The lifetime of an app's tokens.
pub(super) fn lifetime(text: &str) -> Result<TokenLifetime, ControlError> {
    TokenLifetime::parse(text).ok_or_else(|| {
        let names = TokenLifetime::ALL.map(TokenLifetime::as_str).join(", ");
        ControlError::invalid(
            "token_lifetime",
            format!("unknown token lifetime; choose one of {names}"),
        )
    })
}
