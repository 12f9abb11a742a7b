//! The issued-before cutoff: the moment before which all tokens of a key, an app or a workspace end, also where a clock
//! was ahead when they were issued or revoked.

use crate::control::error::ControlError;
use crate::control::limiter::Wait;
use crate::domain::time::UnixSeconds;

/// A latest moment that lies farther ahead than this was set by a clock that was wrong, in seconds: waiting for it could
/// take days.
const LEAD_OF_WRONG_CLOCK_S: u64 = 60;

/// How far ahead of now the latest moment may lie for a further one to be set behind it: farther the more is ended, so
/// that nobody holds up who ends more than they do. A token then says at most four seconds too late a moment of
/// its issue, which is within what gateways allow for.
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

/// The moment before which tokens end: the second after any in which one can have been issued. `latest` is the
/// latest moment that tokens were ended at before, `issued_ahead` one before which all were issued whose clock was
/// ahead.
pub(crate) fn end_of_tokens(
    now: UnixSeconds,
    issued_before: Option<UnixSeconds>,
    latest: UnixSeconds,
    issued_ahead: UnixSeconds,
    ahead: MaxCutoffLead,
) -> Result<UnixSeconds, ControlError> {
    match issued_before {
        None => match latest.since(now.plus(ahead.seconds())) {
            0 => Ok(now.max(latest).plus(1).max(issued_ahead)),
            // What was set by a clock that was ahead covers all that was issued before. New tokens say that they
            // were issued at that moment, and end with the next.
            seconds if seconds > LEAD_OF_WRONG_CLOCK_S => {
                tracing::warn!(
                    ahead_s = seconds,
                    "all tokens were revoked when the clock was ahead; new ones are accepted once that time has come"
                );
                Ok(latest.plus(1).max(issued_ahead))
            }
            seconds => Err(ControlError::TooMany(Wait::of_seconds(seconds))),
        },
        Some(moment) if moment <= now.plus(1) => Ok(moment),
        Some(_) => Err(ControlError::invalid(
            "issued_before",
            "the moment is still to come; leave it out to end every token issued until now",
        )),
    }
}
