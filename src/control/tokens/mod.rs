//! Access tokens: issuing, introspection, revocation, and tokens found in public.

pub(crate) mod client_cache;
pub(crate) mod client_proof;
pub(crate) mod cutoff;
pub(crate) mod decoy_keys;
pub(crate) mod error;
pub(crate) mod github;
pub(crate) mod identify;
pub(crate) mod introspect;
pub(crate) mod issue;
pub(crate) mod leaked;
pub(crate) mod own_token;
pub(crate) mod report_limiter;
pub(crate) mod resources;
pub(crate) mod revoke;
pub(crate) mod revoke_all;
