//! The control plane over real HTTP, on a store of its own in a temporary folder.

mod apps;
mod management;
mod publish;
mod revoke;
mod sources;
mod store;
mod support;
mod token;
mod token_refused;
