//! Sources, the app each is connected to, and enforcement.

use crate::control::changes::{ChangeTx, Changes};
use crate::control::ids::Ids;
use crate::store::Store;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;

use crate::control::actor::Actor;
use crate::control::audit_event::{AuditAction, Event};
use crate::control::conflict::Conflict;
use crate::control::error::ControlError;
use crate::control::ids;
use crate::control::input::name;
use crate::domain::ids::{AppId, SourceId, WorkspaceId, WriteKey};
use crate::domain::policy::Enforcement;
use crate::domain::role::{Action, View};
use crate::domain::source_kind::SourceKind;
use crate::model::page::Page;
use crate::model::source::Source;
use crate::snapshot::{Change, SourceRecord, digest_text};
use crate::store::ReadTx;

/// Letters and digits of a generated write key: 190 bits.
const WRITE_KEY_CHARS: usize = 32;

/// Letters and digits of a source function's secret. With the id in front, the length is a multiple of three bytes,
/// so its base64 has no padding, which would need escaping in a query.
const FUNCTION_SECRET_CHARS: usize = 34;

// No `Debug`: it may hold a write key.
/// A source to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSource {
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    #[schemars(extend("enum" = ["http_api", "nodejs", "python", "source_function", "public_api"]))]
    pub kind: String,
    /// A write key that clients already use. Generated if absent.
    #[serde(default)]
    pub write_key: Option<String>,
}

/// Sources, their connections and their enforcement.
pub struct Sources {
    pub(crate) ids: Arc<Ids>,
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
}

impl Sources {
    /// Creates a source: connected to no app, enforcement off.
    ///
    /// # Errors
    /// [`Conflict::WriteKeyTaken`], or [`ControlError::Invalid`] with the invalid field.
    pub async fn create(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        new: NewSource,
    ) -> Result<Source, ControlError> {
        actor.require(workspace, Action::CreateSource)?;
        let now = self.changes.now();
        let id = self.ids.make("src", SourceId::parse, now)?;
        let kind = SourceKind::parse(&new.kind).ok_or_else(|| {
            let names = SourceKind::ALL.map(SourceKind::as_str).join(", ");
            ControlError::invalid("kind", format!("unknown kind; choose one of {names}"))
        })?;
        let write_key = match &new.write_key {
            Some(text) => WriteKey::parse(text)
                .map_err(|error| ControlError::invalid("write_key", format!("the write key {error}")))?,
            None => new_write_key(kind, &id)?,
        };
        let source = Source {
            id,
            workspace: workspace.clone(),
            name: name(&new.name, "name")?,
            kind,
            write_key,
            enforcement: Enforcement::Off,
            app: None,
            revision: 1,
            created_at: now,
        };
        let digest = digest_text(&source.write_key.digest());
        let mut tx = self.changes.begin(actor).await?;
        tx.workspace(workspace)
            .await?
            .ok_or(ControlError::NotFound("workspace"))?;
        if tx.has_write_key(&digest).await? {
            return Err(Conflict::WriteKeyTaken.into());
        }
        tx.insert_source(&source, &digest).await?;
        let event = source_event(AuditAction::SourceCreated, &source).made(source_value(&source));
        self.changes
            .commit(tx, &[Change::PutSource(record(&source))], event)
            .await?;
        Ok(source)
    }

    /// One source.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn get(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &SourceId,
    ) -> Result<Source, ControlError> {
        let mut tx = self.store.read().await?;
        source_for(&mut tx, actor, workspace, id, Action::ViewSource).await
    }

    /// One page of the workspace's sources that the actor may view.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub async fn list(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        page: Page<'_>,
    ) -> Result<Vec<Source>, ControlError> {
        actor.require(workspace, Action::ViewWorkspace)?;
        let mut tx = self.store.read().await?;
        let Some(member) = actor.as_member().filter(|member| !member.grants.is_owner()) else {
            return Ok(tx.sources(workspace, page).await?);
        };
        let mut found = Vec::new();
        for kind in SourceKind::ALL {
            found.extend(match member.grants.view_of(kind) {
                View::None => continue,
                View::All => tx.sources_of_kind(workspace, kind, page).await?,
                View::Listed => tx.listed_sources(workspace, kind, &member.id, page).await?,
            });
        }
        // Each kind returned its next page; together they begin with the next page of all.
        found.sort_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
        found.truncate(usize::try_from(page.limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    /// Renames a source.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] or [`ControlError::NotFound`].
    pub async fn rename(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &SourceId,
        new_name: &str,
    ) -> Result<Source, ControlError> {
        let (tx, mut source) = self
            .source_to_change(actor, workspace, id, Action::EditSource)
            .await?;
        let before = source_value(&source);
        source.name = name(new_name, "name")?;
        self.put_source(tx, actor, AuditAction::SourceRenamed, before, source)
            .await
    }

    /// Deletes a source. Requests with its write key are `source_unknown` from then on.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn delete(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &SourceId,
    ) -> Result<(), ControlError> {
        let (mut tx, source) = self
            .source_to_change(actor, workspace, id, Action::EditSource)
            .await?;
        tx.delete_source(id).await?;
        tx.delete_resource_grants(id).await?;
        let event = source_event(AuditAction::SourceDeleted, &source).removed(source_value(&source));
        let write_key_digest = digest_text(&source.write_key.digest());
        self.changes
            .commit(tx, &[Change::RemoveSource { write_key_digest }], event)
            .await
    }

    /// Connects a source to an app, replacing its current connection, if any.
    ///
    /// # Errors
    /// [`Conflict::ScopeMissing`] if the app lacks the scope that the source's kind needs.
    pub async fn connect(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &SourceId,
        app: &AppId,
    ) -> Result<Source, ControlError> {
        let (mut tx, mut source) = self
            .source_to_change(actor, workspace, id, Action::ConnectSource)
            .await?;
        let before = source_value(&source);
        let app = tx.app(workspace, app).await?;
        let app =
            app.ok_or_else(|| ControlError::invalid("app_id", "OAuth app not found in this workspace"))?;
        let scope = source.kind.scope();
        if !app.scopes.iter().any(|held| held.as_str() == scope) {
            return Err(Conflict::ScopeMissing {
                kind: source.kind.as_str(),
                scope,
            }
            .into());
        }
        source.app = Some(app.id);
        self.put_source(tx, actor, AuditAction::SourceConnected, before, source)
            .await
    }

    /// Disconnects a source from its app. Unless enforcement is off, `force` is required, since every request to the
    /// source is then denied (or would be, with `observe`).
    ///
    /// # Errors
    /// [`Conflict::Enforced`] without `force`.
    pub async fn disconnect(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &SourceId,
        force: bool,
    ) -> Result<Source, ControlError> {
        let (tx, mut source) = self
            .source_to_change(actor, workspace, id, Action::ConnectSource)
            .await?;
        if source.app.is_none() {
            return Ok(source);
        }
        let before = source_value(&source);
        if source.enforcement != Enforcement::Off && !force {
            return Err(Conflict::Enforced.into());
        }
        source.app = None;
        self.put_source(tx, actor, AuditAction::SourceDisconnected, before, source)
            .await
    }

    /// Sets a source's enforcement.
    ///
    /// # Errors
    /// [`Conflict::NotConnected`] for `on` or `observe` if no app is connected.
    pub async fn set_enforcement(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &SourceId,
        mode: Enforcement,
    ) -> Result<Source, ControlError> {
        let (tx, mut source) = self
            .source_to_change(actor, workspace, id, Action::EnforceSource)
            .await?;
        let before = source_value(&source);
        if mode != Enforcement::Off && source.app.is_none() {
            return Err(Conflict::NotConnected.into());
        }
        source.enforcement = mode;
        self.put_source(tx, actor, AuditAction::EnforcementChanged, before, source)
            .await
    }

    /// Counts the requests of a source from now on: what was judged before no longer says whether it is ready to enforce.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn restart_observation(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &SourceId,
    ) -> Result<(), ControlError> {
        let (mut tx, source) = self
            .source_to_change(actor, workspace, id, Action::EnforceSource)
            .await?;
        tx.change_source_rules(id, self.changes.now()).await?;
        let event = source_event(AuditAction::ObservationRestarted, &source);
        self.changes
            .commit(tx, &[Change::PutSource(record(&source))], event)
            .await
    }

    async fn source_to_change(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &SourceId,
        action: Action,
    ) -> Result<(ChangeTx, Source), ControlError> {
        // Missing permission is rejected before it takes a turn among the changes.
        source_for(&mut self.store.read().await?, actor, workspace, id, action).await?;
        let mut tx = self.changes.begin(actor).await?;
        let source = source_for(&mut tx, actor, workspace, id, action).await?;
        actor.check_if_match(source.revision)?;
        Ok((tx, source))
    }

    async fn put_source(
        &self,
        mut tx: ChangeTx,
        _actor: &Actor,
        action: AuditAction,
        before: Value,
        mut source: Source,
    ) -> Result<Source, ControlError> {
        let after = source_value(&source);
        if after == before {
            drop(tx);
            // An earlier call may have returned an error because its change was not in force yet.
            self.changes.newest_in_force().await?;
            return Ok(source);
        }
        source.revision += 1;
        tx.update_source(&source).await?;
        if action != AuditAction::SourceRenamed {
            tx.change_source_rules(&source.id, self.changes.now()).await?;
        }
        let event = source_event(action, &source).changed(before, after);
        self.changes
            .commit(tx, &[Change::PutSource(record(&source))], event)
            .await?;
        Ok(source)
    }
}

/// An action on a source.
fn source_event(action: AuditAction, source: &Source) -> Event {
    Event::new(action, &source.workspace, "source", &source.id, &source.name)
}

/// The source, if the actor may perform this action on it.
async fn source_for(
    tx: &mut ReadTx,
    actor: &Actor,
    workspace: &WorkspaceId,
    id: &SourceId,
    action: Action,
) -> Result<Source, ControlError> {
    actor.require(workspace, Action::ViewWorkspace)?;
    let source = tx.source(workspace, id).await?;
    let source = source.ok_or(ControlError::NotFound("source"))?;
    actor.require_on_source(workspace, action, id, source.kind)?;
    Ok(source)
}

fn new_write_key(kind: SourceKind, id: &SourceId) -> Result<WriteKey, ControlError> {
    let text = match kind {
        SourceKind::SourceFunction => {
            let secret = ids::alphanumerics(FUNCTION_SECRET_CHARS)?;
            zeroize::Zeroizing::new(STANDARD.encode(format!("{id}::{}", secret.as_str())))
        }
        _ => ids::alphanumerics(WRITE_KEY_CHARS)?,
    };
    WriteKey::parse(&text).map_err(|_| ControlError::Crypto("making a write key"))
}

/// A source as it appears in a change or snapshot.
fn record(source: &Source) -> SourceRecord {
    SourceRecord {
        id: source.id.as_str().to_owned(),
        workspace: source.workspace.as_str().to_owned(),
        write_key_digest: digest_text(&source.write_key.digest()),
        enforcement: source.enforcement.as_str().to_owned(),
        app: source.app.as_ref().map(|app| app.as_str().to_owned()),
    }
}

/// A source as it appears in the trail: without its write key.
pub(crate) fn source_value(source: &Source) -> Value {
    json!({
        "name": source.name.as_str(),
        "kind": source.kind.as_str(),
        "enforcement": source.enforcement.as_str(),
        "app_id": source.app.as_ref().map(|app| app.as_str()),
    })
}
