//! zlib-ng's bindings, answered by stock zlib.
//!
//! pingora-core asks flate2 for its `zlib-ng` backend, and those bindings build with cmake, which a
//! fresh Debian machine does not have: the first command of the README would fail there. Both
//! bindings declare the same names and the same `z_stream`, so flate2 cannot tell them apart. Stock
//! zlib builds with the C compiler that aws-lc needs anyway.
#![no_std]

pub use libz_sys::*;
