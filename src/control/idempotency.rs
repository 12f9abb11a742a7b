//! Requests sent again: one `Idempotency-Key` makes one thing.
//!
//! What is remembered is the name of the thing made, not the answer: the answer to a repeated request is read
//! anew, under the permissions of that moment, and no secret that was shown once lies in the store.

use super::actor::{Actor, RetryKey};
use super::conflict::Conflict;
use super::error::ControlError;
use super::plane::Control;
use crate::store::WriteTx;
use crate::store::retry::RetryRow;

/// How long a key is remembered, in seconds: a day.
const REMEMBERED_S: u64 = 86_400;

/// Keys remembered for one member.
const KEYS_MAX: u64 = 10_000;
