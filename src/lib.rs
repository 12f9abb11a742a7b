//! portcullis: an OAuth 2.0 enforcement gateway with a bundled control plane.

pub mod domain;

pub mod snapshot;

pub mod feed;

pub mod clock;

pub mod store;

pub mod control;
