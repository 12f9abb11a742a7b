//! Counts the work of parsers, so that tests can bound what one byte of a client costs.
//!
//! Each parser says how many bytes it looks at, once for each time it does. What a library does with the bytes is
//! counted as one look at each; `benches/parsers.rs` measures that. In a build that serves this is nothing.

#[cfg(feature = "test-util")]
use std::cell::Cell;

#[cfg(feature = "test-util")]
thread_local! {
    static LOOKED_AT: Cell<u64> = const { Cell::new(0) };
}

/// Says that so many bytes are looked at.
#[inline(always)]
pub fn count(bytes: usize) {
    #[cfg(feature = "test-util")]
    LOOKED_AT.with(|held| held.set(held.get().saturating_add(bytes as u64)));
    #[cfg(not(feature = "test-util"))]
    let _ = bytes;
}

/// What `run` answers, and how many bytes were looked at meanwhile on this thread.
#[cfg(feature = "test-util")]
pub fn of<T>(run: impl FnOnce() -> T) -> (T, u64) {
    let before = LOOKED_AT.get();
    let answer = run();
    (answer, LOOKED_AT.get() - before)
}
