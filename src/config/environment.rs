//! Environment variables besides those that a config names.

#[cfg(feature = "test-util")]
use std::ffi::OsString;

/// The critical task that a test makes panic.
#[cfg(feature = "test-util")]
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the config is the one reader of the environment"
)]
pub fn falling_task() -> Option<OsString> {
    std::env::var_os("PORTCULLIS_TEST_FALLING_TASK")
}
