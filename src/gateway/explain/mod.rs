//! Explains a decision: a request goes through the gateway's own readers and `decide`, with nothing served and nothing
//! forwarded, and each check is written down.

pub mod explanation;
mod inputs;
pub mod offline;
pub mod recorder;
mod unverified;
