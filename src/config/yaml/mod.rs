//! YAML as people write it: read into the types of a file, with every problem of its structure and its place.

pub(super) mod complaint;
pub(super) mod document;
pub(super) mod excerpt;
mod fault;
pub(super) mod nearest;
pub(super) mod reader;
mod spanned;
pub(super) mod tree;
