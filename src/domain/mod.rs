//! The shared core: values and pure functions.
//!
//! Nothing in this folder opens a socket or a file, reads a clock, logs, spawns or locks. Time is an
//! argument, and no type here is serialisable: wire forms live in [`crate::snapshot`] and at the edges.
//! Read it in this order: the vocabulary (`ids`, `time`, `scope`, `digest`), the token (`json`, `jws`,
//! `key`, `access_token`, `client_assertion`), then the two verbs (`policy`, `facts`, `decision`,
//! `decide`; `issue`).

pub mod access_token;
pub mod checks;
pub mod claim_names;
pub mod client_assertion;
pub mod cost;
pub mod decide;
pub mod decimal;
pub mod decision;
pub mod digest;
pub mod digest_map;
pub mod facts;
pub mod hex;
pub mod id_token;
pub mod ids;
pub mod issue;
pub mod issuer_keys;
pub mod issuer_url;
pub mod json;
pub mod jws;
pub mod key;
pub mod leak_report;
pub mod name;
pub mod network;
pub mod policy;
pub mod role;
pub mod scope;
pub mod sealing;
pub mod source_kind;
pub mod time;
pub mod token_fault;
pub mod token_id;
mod weak_key;
