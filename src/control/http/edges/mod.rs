//! What edges are served: joining, sessions, the change stream, snapshots, beats and reports, on a listener of its own.

mod in_session;
pub mod listener;
mod reported;
mod routes;
pub mod service;
mod stream;
