//! Names, e-mail addresses and times that people type, parsed and checked.

use super::error::ControlError;
use crate::domain::decimal::begins_with_year;
use crate::domain::name::Name;
use crate::domain::name::composed;
use crate::domain::name::is_deceptive;
use crate::domain::time::UnixSeconds;

/// A name from a form or an API request.
pub(crate) fn name(text: &str, field: &str) -> Result<Name, ControlError> {
    Name::parse(text).map_err(|error| ControlError::invalid(field, format!("the name {error}")))
}

/// The longest e-mail address, in bytes.
pub(crate) const EMAIL_BYTES_MAX: usize = 254;

/// An e-mail address in its canonical form, Unicode-composed and in lower case: equal texts are one person.
pub(crate) fn email_address(text: &str) -> Result<String, ControlError> {
    let refused = || ControlError::invalid("email", "this is not an e-mail address");
    if text.len() > EMAIL_BYTES_MAX * 4 {
        return Err(refused());
    }
    let email = composed(&composed(text.trim()).to_lowercase());
    let plain = email
        .chars()
        .all(|c| !c.is_whitespace() && !c.is_control() && !is_deceptive(c));
    match email.rsplit_once('@') {
        Some((local, domain))
            if plain && !local.is_empty() && !domain.is_empty() && email.len() <= EMAIL_BYTES_MAX =>
        {
            Ok(email)
        }
        _ => Err(refused()),
    }
}

/// The time of an RFC 3339 text. A fraction of a second is dropped.
pub(crate) fn moment(text: &str, field: &str) -> Result<UnixSeconds, ControlError> {
    let parsed: Option<jiff::Timestamp> = text.parse().ok();
    parsed
        .filter(|_| begins_with_year(text))
        .and_then(|moment| u64::try_from(moment.as_second()).ok())
        .map(UnixSeconds)
        .ok_or_else(|| ControlError::invalid(field, "use an RFC 3339 time, such as 2030-01-31T12:00:00Z"))
}
