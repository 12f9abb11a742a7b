//! To the upstream and back.

pub mod exchange;
pub mod respond;
pub mod upstream;
