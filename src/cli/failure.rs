//! Why a command failed, and the exit code that says so.

use std::fmt;

/// Why a command ended without success: whose fault it is, and a sentence.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The user's input is wrong: exit 1.
    Input(String),
    /// Ours: exit 70.
    Internal(String),
}

impl Failure {
    pub(crate) fn input(error: impl fmt::Display) -> Self {
        Self::Input(error.to_string())
    }

    pub(crate) fn internal(error: impl fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }
}
