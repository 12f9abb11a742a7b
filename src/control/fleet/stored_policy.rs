//! The policy as the store holds it: read whole, as of one version.

use super::settings::InForce;
use crate::control::apps::app::policy_app;
use crate::control::settings::ControlSettings;
use crate::control::signing_keys::key_ring::stored_issuer;
use crate::domain::issue::IssuerIdentity;
use crate::domain::time::UnixSeconds;
use crate::fleet::position::Position;
use crate::snapshot::{FORMAT, RevocationRecord, Snapshot, SourceRecord, WorkspaceRecord};
use crate::store::{ReadTx, Store, StoreError};

/// The policy that a control plane with these settings publishes from this store. For commands that only read.
///
/// # Errors
/// [`StoreError`].
pub async fn stored_policy(
    store: &Store,
    settings: &ControlSettings,
    now: UnixSeconds,
) -> Result<Snapshot, StoreError> {
    let identity = IssuerIdentity {
        issuer: settings.public_url.clone(),
        audience: InForce::read(store, settings).await?.audience,
    };
    let mut tx = store.read().await?;
    Ok(policy_in(&mut tx, &identity, now).await?.1)
}

/// The policy as of one view of the store, and the position that it leads to. `now` is read before the view is taken.
pub(super) async fn policy_in(
    tx: &mut ReadTx,
    identity: &IssuerIdentity,
    now: UnixSeconds,
) -> Result<(Position, Snapshot), StoreError> {
    let position = tx.policy_position().await?;
    let issuer = stored_issuer(tx, identity).await?;
    let apps = tx.policy_apps().await?;
    let sources = tx.policy_sources().await?;
    let revocations = tx.policy_revocations().await?;
    let workspaces = tx.workspace_cutoffs().await?;
    let snapshot = Snapshot {
        format: FORMAT,
        version: position.version,
        issued_at: now.0,
        issuer: Some(issuer),
        apps: apps
            .into_iter()
            .map(|app| policy_app(app, &identity.issuer))
            .collect(),
        workspaces: workspaces
            .into_iter()
            .map(|(id, not_issued_before)| WorkspaceRecord {
                id,
                not_issued_before,
            })
            .collect(),
        sources: sources
            .into_iter()
            .map(|source| SourceRecord {
                id: source.id,
                workspace: source.workspace,
                write_key_digest: source.write_key_digest,
                enforcement: source.enforcement,
                app: source.app,
            })
            .collect(),
        revocations: revocations
            .into_iter()
            .map(|revoked| RevocationRecord {
                issuer: revoked.issuer,
                token_id: revoked.token_id,
                expires_at: revoked.expires_at,
            })
            .collect(),
    };
    Ok((position, snapshot))
}
