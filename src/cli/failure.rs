//! Why a command failed, and the exit code that says so.

use std::fmt;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::control::OpenError;
use crate::gateway::start_error::StartError;
use crate::store::StoreError;

/// Why a command ended without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The user's input is wrong: exit 1.
    Input(String),
    /// Files have errors: exit 1. Each is printed with its place in front, as editors read it.
    Config(ConfigError),
    /// What is wrong was printed already: exit 1.
    Reported,
    /// `explain` found that the request is denied, and said why: exit 3.
    Denied,
    /// A database, an address or a name is not there yet: exit 75 (`EX_TEMPFAIL`). The same command may work later.
    Environment(String),
    /// A fault of this program: exit 70 (`EX_SOFTWARE`).
    Internal(String),
}

impl Failure {
    pub(crate) fn input(error: impl fmt::Display) -> Self {
        Self::Input(error.to_string())
    }

    pub(crate) fn internal(error: impl fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }

    /// Prints the failure to standard error.
    pub(crate) fn report(&self) -> ExitCode {
        let (message, code) = match self {
            Self::Config(error) => {
                eprintln!("{error}");
                return ExitCode::from(1);
            }
            Self::Reported => return ExitCode::from(1),
            Self::Denied => return ExitCode::from(3),
            Self::Input(message) => (message, 1),
            Self::Environment(message) => (message, 75),
            Self::Internal(message) => (message, 70),
        };
        eprintln!("portcullis: {message}");
        ExitCode::from(code)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Policy(error) => Self::Config(error),
            StartError::Listen { can_pass: true, .. } => Self::Environment(error.to_string()),
            other => Self::input(other),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match &error {
            OpenError::Store(store) if is_temporary(store) => Self::Environment(error.to_string()),
            _ => Self::input(error),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match is_temporary(&error) {
            true => Self::Environment(error.to_string()),
            false => Self::input(error),
        }
    }
}

/// Whether the store may be there later, with the same config.
fn is_temporary(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::NotReached { .. }
            | StoreError::Locked(_)
            | StoreError::Unavailable(_)
            | StoreError::Full(_)
            | StoreError::Unconfirmed(_)
    )
}
