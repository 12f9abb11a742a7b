//! The data plane: a shell around `decide`. The life of a request, file by file:
//!
//! `listener` accepts its connection and gives it a permit, `tls` and `certificates` agree on keys,
//! `connection` hears which HTTP it speaks, `http1` reads its head as bytes (`raw_head`) and `http2` takes it off
//! its connection, `proxy` leads it through, `extract` checks its head and reads it (`query` its parameters), `body` holds what follows
//! (`chunks` watches how it is framed) and `scan` finds the write keys in it, large ones (`large_bodies`) a slice at a time,
//! (`stray_keys` those that an API did not ask for),
//! `token_cache` knows its token, `decide` decides, `own_answers` and `respond` refuse or `forward` sends
//! it to one of `upstream`'s servers. Beside them `subscribe`, `jwks` and `key_file` keep the policy in `policy_cell`
//! current, and `tally` tells the control plane what became of each source's requests. `service` starts all of it
//! and changes it while it runs, as `settings` makes it from the config.
//!
//! What is absent: this folder does not know the control plane or its store; all it learns comes through
//! the snapshot.

pub(crate) mod build;
pub mod forward;
pub mod link;
pub mod listen;
pub mod observe;
pub mod read;
pub mod serve;
pub mod server;
pub mod start_error;
pub mod state;
pub mod wire;

/// Parsers that only a connection reaches, for tests of what they cost.
#[cfg(feature = "test-util")]
pub mod parsers {
    pub use super::read::raw_head::end_of_head;
}
