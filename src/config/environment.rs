//! What the environment says besides the values that a config names.

use std::ffi::OsString;

/// Where a service manager wants to hear of this process (sd_notify(3)).
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the config is the one reader of the environment"
)]
pub fn notify_socket() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())
}

/// The vital task that a test wants to see fall.
#[cfg(feature = "test-util")]
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the config is the one reader of the environment"
)]
pub fn falling_task() -> Option<OsString> {
    std::env::var_os("PORTCULLIS_TEST_FALLING_TASK")
}
