//! The write keys of a JSON body, found while every byte of it is checked to be JSON.

pub(crate) mod blocks;
pub(crate) mod containers;
pub(crate) mod key_spelling;
pub mod scalars;
pub mod scan;
pub mod scan_error;
