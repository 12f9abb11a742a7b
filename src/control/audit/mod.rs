//! The audit trail as it is read and verified.

pub(crate) mod trail;
