//! Who the audit trail says it was.

use crate::control::Actor;

/// The operator, by `portcullis apply`.
pub(super) static AUTHOR: Actor = Actor::system("apply");
