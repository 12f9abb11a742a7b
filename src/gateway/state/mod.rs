//! What decisions rest on: the policy in force and verified signatures.

pub mod policy_cell;
pub mod token_cache;
