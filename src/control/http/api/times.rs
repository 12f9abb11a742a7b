//! Times in the management API (RFC 3339).

use crate::control::error::ControlError;
pub(crate) use crate::control::input::moment;
use crate::domain::time::UnixSeconds;

/// A time as RFC 3339 in UTC.
pub(crate) fn at_text(at: UnixSeconds) -> String {
    let seconds = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| at.to_string(), |moment| moment.to_string())
}

/// As [`moment`], with a fraction of a second rounded up.
pub(crate) fn moment_after(text: &str, field: &str) -> Result<UnixSeconds, ControlError> {
    let whole = moment(text, field)?;
    let has_fraction = text
        .parse::<jiff::Timestamp>()
        .is_ok_and(|moment| moment.subsec_nanosecond() > 0);
    Ok(whole.plus(u64::from(has_fraction)))
}
