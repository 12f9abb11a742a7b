//! The audit trail: reading and verification.

pub(crate) mod trail;
