//! The audit trail.

mod events;
mod verification;
