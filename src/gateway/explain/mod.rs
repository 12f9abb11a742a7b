//! Explains a decision: each check of `decide` is written down with what it compared.

pub mod denials;
pub mod explanation;
mod inputs;
pub mod recorder;
pub(crate) mod unverified;
