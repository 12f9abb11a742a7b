//! Searches over apps and sources, and the counts that pages show.

use crate::control::actor::Actor;
use crate::control::changes::Changes;
use crate::control::error::ControlError;
use crate::control::usage::Usage;
use crate::domain::ids::{AppId, KeyId, SourceId, WorkspaceId, WriteKey};
use crate::domain::policy::Enforcement;
use crate::domain::role::{Action, View};
use crate::domain::source_kind::SourceKind;
use crate::model::app::App;
use crate::model::page::Page;
use crate::model::search::{AppSummary, Blocker, Found, SourceFilter, SourceSummary};
use crate::model::source::Source;
use crate::snapshot::{OWN_LEEWAY_S, digest_text};
use crate::store::{ReadTx, Store, StoreError};
use std::sync::Arc;

/// The most owners that a member without rights is referred to.
const OWNERS_SHOWN: u32 = 5;

/// The sources connected to an app.
#[derive(Debug)]
pub struct Connected {
    /// How many there are.
    pub total: u64,
    /// The first ones that the actor may view.
    pub shown: Vec<Source>,
}

/// How many sources of a workspace have each enforcement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounts {
    pub off: u64,
    pub observe: u64,
    pub on: u64,
}

/// Searches over apps and sources, and the counts that pages show.
pub struct Search {
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) usage: Arc<Usage>,
}

impl Search {
    /// One page of the workspace's apps with `text` in their names. It may stop before it is full: see
    /// [`Found::searched_to`].
    ///
    /// # Errors
    /// [`ControlError::Forbidden`] or [`ControlError::Store`].
    pub async fn find_apps(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        text: &str,
        page: Page<'_>,
    ) -> Result<Found<AppSummary>, ControlError> {
        actor.require(workspace, Action::ViewApp)?;
        let mut tx = self.store.read().await?;
        let found = tx.find_apps(workspace, text, page).await?;
        let mut items = Vec::new();
        for app in found.items {
            items.push(AppSummary {
                keys: tx.app_keys(&app.id).await?,
                sources: tx.sources_connected(&app.id).await?,
                app,
            });
        }
        Ok(Found {
            items,
            searched_to: found.searched_to,
            names: found.names,
        })
    }

    /// One page of the sources that the filter finds, of those that the actor may view. It may stop before it is
    /// full: see [`Found::searched_to`]. A text that is the ID or the write key of a source finds that source.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`] or [`ControlError::Store`].
    pub async fn find_sources(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        filter: &SourceFilter<'_>,
        page: Page<'_>,
    ) -> Result<Found<SourceSummary>, ControlError> {
        actor.require(workspace, Action::ViewWorkspace)?;
        let mut tx = self.store.read().await?;
        if page.after.is_empty()
            && let Some(source) = exact_match(&mut tx, actor, workspace, filter.text).await?
        {
            return Ok(Found {
                items: vec![summary(&mut tx, source).await?],
                searched_to: None,
                names: 0,
            });
        }
        let limited = actor.as_member().filter(|member| !member.grants.is_owner());
        // Each kind has an index; all but one kind do not.
        let by_kind = limited.is_some() || (filter.text.is_empty() && filter.but_kind.is_some());
        let range = tx
            .end_of_source_search(workspace, filter, page.after, by_kind)
            .await?;
        if !by_kind {
            let found = tx.find_sources(workspace, filter, None, page, &range.to).await?;
            return Ok(range.found(found, page));
        }
        let mut found = Vec::new();
        let wanted = |kind: &SourceKind| {
            filter.kind.is_none_or(|wanted| wanted == *kind) && filter.but_kind != Some(*kind)
        };
        for kind in SourceKind::ALL.into_iter().filter(wanted) {
            let of_kind = SourceFilter {
                kind: Some(kind),
                ..filter.clone()
            };
            let listed = match limited.map(|member| (member.grants.view_of(kind), &member.id)) {
                Some((View::None, _)) => continue,
                Some((View::Listed, id)) => Some(id),
                Some((View::All, _)) | None => None,
            };
            found.extend(
                tx.find_sources(workspace, &of_kind, listed, page, &range.to)
                    .await?,
            );
        }
        // Each kind returned its next page; together they begin with the next page of all.
        found.sort_by(|one, other| one.source.id.as_str().cmp(other.source.id.as_str()));
        found.truncate(usize::try_from(page.limit).unwrap_or(usize::MAX));
        Ok(range.found(found, page))
    }

    /// Why no token can be accepted for a source, if that is so.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub async fn blocker(&self, source: &Source) -> Result<Option<Blocker>, ControlError> {
        let mut tx = self.store.read().await?;
        Ok(summary(&mut tx, source.clone()).await?.blocker)
    }

    /// One app without its keys and sources; there may be many sources.
    ///
    /// # Errors
    /// [`ControlError::NotFound`], [`ControlError::Forbidden`] or [`ControlError::Store`].
    pub async fn app_without_keys(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        app: &AppId,
    ) -> Result<App, ControlError> {
        actor.require(workspace, Action::ViewApp)?;
        let found = self.store.read().await?.app(workspace, app).await?;
        found.ok_or(ControlError::NotFound("OAuth app"))
    }

    /// How many sources are connected to an app, and the first of those that the actor may view.
    ///
    /// # Errors
    /// [`ControlError::NotFound`], [`ControlError::Forbidden`] or [`ControlError::Store`].
    pub async fn connected(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        app: &AppId,
        limit: u32,
    ) -> Result<Connected, ControlError> {
        actor.require(workspace, Action::ViewApp)?;
        let filter = SourceFilter {
            app: Some(app.clone()),
            ..SourceFilter::default()
        };
        let page = Page { after: "", limit };
        let shown = self.find_sources(actor, workspace, &filter, page).await?;
        let mut tx = self.store.read().await?;
        tx.app(workspace, app)
            .await?
            .ok_or(ControlError::NotFound("OAuth app"))?;
        Ok(Connected {
            total: tx.sources_connected(app).await?,
            shown: shown.items.into_iter().map(|found| found.source).collect(),
        })
    }

    /// How many sources of the workspace have each enforcement.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`] unless the actor is an owner: others may not view all sources.
    pub async fn source_counts(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
    ) -> Result<SourceCounts, ControlError> {
        actor.require(workspace, Action::ViewSource)?;
        let mut counts = SourceCounts::default();
        for (mode, count) in self.store.read().await?.enforcement_counts(workspace).await? {
            match mode {
                Enforcement::Off => counts.off = count,
                Enforcement::Observe => counts.observe = count,
                Enforcement::On => counts.on = count,
            }
        }
        Ok(counts)
    }

    /// The addresses of owners, for members who need to ask one.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] if the actor is no member, or [`ControlError::Store`].
    pub async fn owner_addresses(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
    ) -> Result<Vec<String>, ControlError> {
        actor.require(workspace, Action::ViewWorkspace)?;
        Ok(self.store.read().await?.owners(workspace, OWNERS_SHOWN).await?)
    }

    /// The app's tokens, proved by one of its keys or any, that have neither expired nor been revoked. They are
    /// counted by hour, so the count may be a few too high, never too low.
    ///
    /// # Errors
    /// [`ControlError::NotFound`], [`ControlError::Forbidden`] or [`ControlError::Store`].
    pub async fn live_tokens(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        app: &AppId,
        key: Option<&KeyId>,
    ) -> Result<u64, ControlError> {
        actor.require(workspace, Action::ViewApp)?;
        // Tokens of the last seconds are still in memory.
        self.usage.flush_uses().await;
        let mut tx = self.store.read().await?;
        let app = tx
            .app(workspace, app)
            .await?
            .ok_or(ControlError::NotFound("OAuth app"))?;
        Ok(tx
            .live_tokens(&app, key, self.changes.now(), OWN_LEEWAY_S)
            .await?)
    }
}

/// The source that has this text as its ID or write key, if the actor may view it.
async fn exact_match(
    tx: &mut ReadTx,
    actor: &Actor,
    workspace: &WorkspaceId,
    text: &str,
) -> Result<Option<Source>, StoreError> {
    let text = text.trim();
    let mut found = None;
    if let Ok(id) = SourceId::parse(text) {
        found = tx.source(workspace, &id).await?;
    }
    if found.is_none()
        && let Ok(key) = WriteKey::parse(text)
    {
        found = tx
            .source_of_write_key(workspace, &digest_text(&key.digest()))
            .await?;
    }
    let may_view = |source: &Source| {
        actor
            .require_on_source(workspace, Action::ViewSource, &source.id, source.kind)
            .is_ok()
    };
    Ok(found.filter(may_view))
}

async fn summary(tx: &mut ReadTx, source: Source) -> Result<SourceSummary, StoreError> {
    let app = match &source.app {
        Some(id) => tx.app(&source.workspace, id).await?,
        None => None,
    };
    let Some(app) = app else {
        return Ok(SourceSummary {
            blocker: Some(Blocker::NoApp),
            app_name: None,
            source,
        });
    };
    let keys = tx.app_keys(&app.id).await?.len() as u64;
    let scopes = app.scopes.iter().map(crate::domain::scope::Scope::as_str);
    Ok(SourceSummary {
        blocker: Blocker::of(source.kind, Some((scopes, keys))),
        app_name: Some(app.name.to_string()),
        source,
    })
}
