//! The policy that a config names, read once: from its file, or from the store of its control plane.

use crate::cli::failure::Failure;
use crate::cli::planes;
use crate::config;
use crate::config::{Config, ControlPlane, PolicyOrigin};
use crate::control;
use crate::domain::time::UnixSeconds;
use crate::snapshot::Snapshot;
use crate::store::Store;

/// The current policy of a config. A store is only read.
pub(super) async fn snapshot(config: &Config, now: UnixSeconds) -> Result<Snapshot, Failure> {
    match &config.policy {
        PolicyOrigin::File(path) => Ok(config::load_policy(path, &config.issuers, 1, now)?),
        PolicyOrigin::Bundled => match &config.control_plane {
            Some(control) => stored(control, now).await,
            None => Err(Failure::internal("a bundled policy without a control plane")),
        },
        PolicyOrigin::Remote(_) => Err(Failure::input(format_args!(
            "{}: the policy comes from control planes in other processes, and is not read here; use the config of a control plane, or a policy file",
            config.path.display()
        ))),
    }
}

async fn stored(control: &ControlPlane, now: UnixSeconds) -> Result<Snapshot, Failure> {
    let store = Store::open_to_read(&control.store).await?;
    let settings = planes::control_settings(control, &control.listen);
    let read = control::stored_policy(&store, &settings, now).await;
    store.close().await;
    Ok(read?)
}
