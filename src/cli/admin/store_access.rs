//! The store that an admin command works on: found by the config, opened next to its server.

use crate::cli::failure::Failure;
use crate::config;
use crate::config::Config;
use crate::control::Actor;
use crate::control::ControlError;
use clap::Args;
use std::path::Path;
use std::path::PathBuf;

/// Who the trail says it was.
pub(crate) static OPERATOR: Actor = Actor::system("admin");

#[derive(Args)]
pub(crate) struct ConfigArgs {
    /// The config file (YAML) that names the store
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_CONFIG")]
    pub config: PathBuf,
}

pub(crate) fn control_config(path: &Path) -> Result<config::ControlPlane, Failure> {
    let Config { control_plane, .. } = config::load(path)?;
    control_plane.ok_or_else(|| {
        Failure::Input(format!(
            "{} has no control_plane section, and so names no store",
            path.display()
        ))
    })
}

/// What the user can mend is theirs; the rest is ours.
pub(crate) fn refused(error: ControlError) -> Failure {
    match error {
        ControlError::Store(_) | ControlError::Crypto(_) => Failure::internal(error),
        other => Failure::input(other),
    }
}
