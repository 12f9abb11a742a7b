//! The issued-before cutoff: tokens of a key, an app or a workspace that were issued before it are revoked, even where a
//! clock was ahead when they were issued or revoked.

use crate::control::error::ControlError;
use crate::control::limiter::Wait;
use crate::domain::time::UnixSeconds;

const CUTOFF_AHEAD_OF_CLOCK: &str =
    "tokens were revoked while a clock was ahead; gateways accept new tokens once that time has come";

/// A cutoff that lies farther ahead than this was set by a wrong clock, in seconds: waiting for it could take days.
const LEAD_OF_WRONG_CLOCK_S: u64 = 60;

/// How far ahead of now the latest cutoff may be for a further one to be set behind it. It is farther the more is
/// revoked, so that revoking a key or an app does not delay revoking more. The `iat` of a new token is at most four
/// seconds late then, which is within the leeway of gateways.
#[derive(Clone, Copy)]
pub(crate) enum MaxCutoffLead {
    Key,
    App,
    Workspace,
}

impl MaxCutoffLead {
    const fn seconds(self) -> u64 {
        match self {
            Self::Key => 1,
            Self::App => 2,
            Self::Workspace => 3,
        }
    }
}

/// The cutoff: the second after any in which a token can have been issued. `latest` is the latest cutoff so far,
/// `issued_ahead` the second after the latest `iat` in the future, of a token that a clock ahead of time issued.
///
/// # Errors
/// [`ControlError::TooMany`] where `latest` is too far ahead, [`ControlError::Invalid`] where `issued_before` is in the
/// future.
pub(crate) fn cutoff(
    now: UnixSeconds,
    issued_before: Option<UnixSeconds>,
    latest: UnixSeconds,
    issued_ahead: UnixSeconds,
    lead: MaxCutoffLead,
) -> Result<UnixSeconds, ControlError> {
    match issued_before {
        None => match latest.since(now.plus(lead.seconds())) {
            0 => Ok(now.max(latest).plus(1).max(issued_ahead)),
            // A cutoff of a wrong clock covers all that was issued before it. New tokens carry it as `iat`, and the next
            // cutoff revokes them.
            ahead_s if ahead_s > LEAD_OF_WRONG_CLOCK_S => {
                tracing::warn!(ahead_s, "{CUTOFF_AHEAD_OF_CLOCK}");
                Ok(latest.plus(1).max(issued_ahead))
            }
            seconds => Err(ControlError::TooMany(Wait::of_seconds(seconds))),
        },
        Some(moment) if moment <= now.plus(1) => Ok(moment),
        Some(_) => Err(ControlError::invalid(
            "issued_before",
            "the time is in the future; leave the field out to revoke every token issued until now",
        )),
    }
}
