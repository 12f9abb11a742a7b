//! What edges and their control plane agree on: positions in the policy's history, the lease that keeps an edge
//! current, and the messages between them. Plain data and arithmetic, without I/O.
//!
//! An *edge* is an enrolled identity (a key pair), an *instance* one running process of it.

pub mod account;
pub mod lease;
pub mod position;
pub mod protocol;
