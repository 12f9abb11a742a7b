//! What exists now: workspaces, and OAuth apps with their public keys. Sources are in [`super::sources`].

use super::rows::all;
use crate::model::app::{App, AppKey};
use crate::model::page::Page;
use crate::model::workspace::Workspace;
use std::collections::HashMap;

use sqlx::{AnyConnection, FromRow};

use super::database::{ReadTx, WriteTx};
use super::error::StoreError;
use super::rows::search_text;
use super::rows::{moment, number, seconds};
use crate::domain::ids::{AppId, KeyId, WorkspaceId};
use crate::domain::key::{Algorithm, pem_block};
use crate::domain::name::Name;
use crate::domain::scope::ScopeSet;
use crate::domain::time::TokenLifetime;

#[derive(FromRow)]
pub(super) struct WorkspaceRow {
    id: String,
    name: String,
    revision: i64,
    created_at: i64,
}

impl TryFrom<WorkspaceRow> for Workspace {
    type Error = StoreError;

    fn try_from(row: WorkspaceRow) -> Result<Self, StoreError> {
        let damaged = || StoreError::Corrupted("workspaces");
        Ok(Self {
            id: WorkspaceId::parse(&row.id).map_err(|_| damaged())?,
            name: Name::kept(&row.name).map_err(|_| damaged())?,
            revision: number(row.revision, "workspaces")?,
            created_at: moment(row.created_at, "workspaces")?,
        })
    }
}

/// Selects the columns of an [`AppRow`].
macro_rules! select_apps {
    ($rest:literal) => {
        concat!(
            "SELECT id, workspace, name, scopes, token_lifetime, not_issued_before, revision, created_at FROM apps ",
            $rest
        )
    };
}

pub(super) use select_apps;

#[derive(FromRow)]
pub(super) struct AppRow {
    id: String,
    workspace: String,
    name: String,
    scopes: String,
    token_lifetime: String,
    not_issued_before: i64,
    revision: i64,
    created_at: i64,
}

impl TryFrom<AppRow> for App {
    type Error = StoreError;

    fn try_from(row: AppRow) -> Result<Self, StoreError> {
        let damaged = || StoreError::Corrupted("apps");
        Ok(Self {
            id: AppId::parse(&row.id).map_err(|_| damaged())?,
            workspace: WorkspaceId::parse(&row.workspace).map_err(|_| damaged())?,
            name: Name::kept(&row.name).map_err(|_| damaged())?,
            scopes: ScopeSet::parse(&row.scopes).map_err(|_| damaged())?,
            token_lifetime: TokenLifetime::parse(&row.token_lifetime).ok_or_else(damaged)?,
            not_issued_before: moment(row.not_issued_before, "apps")?,
            revision: number(row.revision, "apps")?,
            created_at: moment(row.created_at, "apps")?,
        })
    }
}

/// Selects the columns of an [`AppKeyRow`].
macro_rules! select_app_keys {
    ($rest:literal) => {
        concat!(
            "SELECT id, app, name, pem, thumbprint, algorithm, created_at, last_used_at, not_issued_before, expires_at FROM app_keys ",
            $rest
        )
    };
}

#[derive(FromRow)]
struct AppKeyRow {
    id: String,
    app: String,
    name: String,
    pem: String,
    thumbprint: String,
    algorithm: String,
    created_at: i64,
    last_used_at: Option<i64>,
    not_issued_before: i64,
    expires_at: Option<i64>,
}

impl TryFrom<AppKeyRow> for AppKey {
    type Error = StoreError;

    fn try_from(row: AppKeyRow) -> Result<Self, StoreError> {
        let damaged = || StoreError::Corrupted("app_keys");
        Ok(Self {
            id: KeyId::parse(&row.id).map_err(|_| damaged())?,
            app: AppId::parse(&row.app).map_err(|_| damaged())?,
            name: Name::kept(&row.name).map_err(|_| damaged())?,
            // Earlier builds stored what was pasted, with everything around the key.
            pem: pem_block(&row.pem),
            thumbprint: row.thumbprint,
            algorithm: Algorithm::parse(&row.algorithm).ok_or_else(damaged)?,
            created_at: moment(row.created_at, "app_keys")?,
            last_used_at: row.last_used_at.map(|at| moment(at, "app_keys")).transpose()?,
            not_issued_before: moment(row.not_issued_before, "app_keys")?,
            expires_at: row.expires_at.map(|at| moment(at, "app_keys")).transpose()?,
        })
    }
}

impl ReadTx {
    pub(crate) async fn workspace(&mut self, id: &WorkspaceId) -> Result<Option<Workspace>, StoreError> {
        sqlx::query_as::<_, WorkspaceRow>(
            "SELECT id, name, revision, created_at FROM workspaces WHERE id = $1",
        )
        .bind(id.as_str())
        .fetch_optional(self.connection())
        .await?
        .map(Workspace::try_from)
        .transpose()
    }

    pub(crate) async fn app(
        &mut self,
        workspace: &WorkspaceId,
        id: &AppId,
    ) -> Result<Option<App>, StoreError> {
        sqlx::query_as::<_, AppRow>(select_apps!("WHERE id = $1 AND workspace = $2"))
            .bind(id.as_str())
            .bind(workspace.as_str())
            .fetch_optional(self.connection())
            .await?
            .map(App::try_from)
            .transpose()
    }

    pub(crate) async fn apps(
        &mut self,
        workspace: &WorkspaceId,
        page: Page<'_>,
    ) -> Result<Vec<App>, StoreError> {
        let rows = sqlx::query_as::<_, AppRow>(select_apps!(
            "WHERE workspace = $1 AND id > $2 ORDER BY id LIMIT $3"
        ))
        .bind(workspace.as_str())
        .bind(page.after)
        .bind(i64::from(page.limit))
        .fetch_all(self.connection())
        .await?;
        all(rows)
    }

    /// IDs of apps of the workspace behind `after`, in order.
    pub(crate) async fn app_ids(
        &mut self,
        workspace: &WorkspaceId,
        after: &str,
        limit: u32,
    ) -> Result<Vec<AppId>, StoreError> {
        let rows: Vec<String> =
            sqlx::query_scalar("SELECT id FROM apps WHERE workspace = $1 AND id > $2 ORDER BY id LIMIT $3")
                .bind(workspace.as_str())
                .bind(after)
                .bind(i64::from(limit))
                .fetch_all(self.connection())
                .await?;
        let damaged = |_| StoreError::Corrupted("apps");
        rows.iter().map(|id| AppId::parse(id).map_err(damaged)).collect()
    }

    /// The app of the workspace that has the public key with this thumbprint: its ID and name, and the ID of the key.
    pub(crate) async fn app_of_key(
        &mut self,
        workspace: &WorkspaceId,
        thumbprint: &str,
    ) -> Result<Option<(AppId, String, KeyId)>, StoreError> {
        let row: Option<(String, String, String)> = sqlx::query_as(
            "SELECT a.id, a.name, k.id FROM app_keys k JOIN apps a ON a.id = k.app \
             WHERE a.workspace = $1 AND k.thumbprint = $2 ORDER BY a.id LIMIT 1",
        )
        .bind(workspace.as_str())
        .bind(thumbprint)
        .fetch_optional(self.connection())
        .await?;
        row.map(|(app, name, key)| {
            let app = AppId::parse(&app).map_err(|_| StoreError::Corrupted("apps"))?;
            let key = KeyId::parse(&key).map_err(|_| StoreError::Corrupted("app_keys"))?;
            Ok((app, name, key))
        })
        .transpose()
    }

    /// The app's keys, oldest first. There are at most two.
    pub(crate) async fn app_keys(&mut self, app: &AppId) -> Result<Vec<AppKey>, StoreError> {
        keys_of(self.connection(), app).await
    }

    /// The keys of a page of the workspace's apps, by app, each app's oldest first.
    pub(crate) async fn keys_of_apps(
        &mut self,
        workspace: &WorkspaceId,
        page: Page<'_>,
    ) -> Result<HashMap<AppId, Vec<AppKey>>, StoreError> {
        let rows = sqlx::query_as::<_, AppKeyRow>(select_app_keys!(
            "WHERE app IN (SELECT id FROM apps WHERE workspace = $1 AND id > $2 ORDER BY id LIMIT $3) \
             ORDER BY id"
        ))
        .bind(workspace.as_str())
        .bind(page.after)
        .bind(i64::from(page.limit))
        .fetch_all(self.connection())
        .await?;
        let mut found = HashMap::<AppId, Vec<AppKey>>::new();
        for key in all::<_, AppKey>(rows)? {
            found.entry(key.app.clone()).or_default().push(key);
        }
        Ok(found)
    }
}

impl ReadTx {
    /// The app with its keys, wherever it is, for the token endpoint: it may ask for any app. Its moment is the
    /// later one of its own and its workspace's.
    pub(crate) async fn issuable_app(
        &mut self,
        id: &AppId,
    ) -> Result<Option<(App, Vec<AppKey>)>, StoreError> {
        let app = sqlx::query_as::<_, AppRow>(
            "SELECT a.id, a.workspace, a.name, a.scopes, a.token_lifetime, a.revision, a.created_at, \
             CASE WHEN w.not_issued_before > a.not_issued_before THEN w.not_issued_before \
                  ELSE a.not_issued_before END AS not_issued_before \
             FROM apps a JOIN workspaces w ON w.id = a.workspace WHERE a.id = $1",
        )
        .bind(id.as_str())
        .fetch_optional(self.connection())
        .await?;
        // The keys are looked for in any case, so that an unknown app costs as much time as a known one.
        let keys = keys_of(self.connection(), id).await?;
        app.map(|row| Ok((App::try_from(row)?, keys))).transpose()
    }
}

async fn keys_of(connection: &mut AnyConnection, app: &AppId) -> Result<Vec<AppKey>, StoreError> {
    let rows = sqlx::query_as::<_, AppKeyRow>(select_app_keys!("WHERE app = $1 ORDER BY id"))
        .bind(app.as_str())
        .fetch_all(connection)
        .await?;
    all(rows)
}

impl WriteTx {
    pub(crate) async fn insert_workspace(&mut self, workspace: &Workspace) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO workspaces (id, name, created_at) VALUES ($1, $2, $3)")
            .bind(workspace.id.as_str())
            .bind(workspace.name.as_str())
            .bind(seconds(workspace.created_at))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    pub(crate) async fn rename_workspace(&mut self, id: &WorkspaceId, name: &Name) -> Result<(), StoreError> {
        sqlx::query("UPDATE workspaces SET name = $2, revision = revision + 1 WHERE id = $1")
            .bind(id.as_str())
            .bind(name.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    pub(crate) async fn insert_app(&mut self, app: &App) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO apps (id, workspace, name, scopes, token_lifetime, not_issued_before, revision, \
             created_at, search) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(app.id.as_str())
        .bind(app.workspace.as_str())
        .bind(app.name.as_str())
        .bind(app.scopes.to_string())
        .bind(app.token_lifetime.as_str())
        .bind(seconds(app.not_issued_before))
        .bind(i64::try_from(app.revision).unwrap_or(i64::MAX))
        .bind(seconds(app.created_at))
        .bind(search_text(app.name.as_str()))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Stores what may change of an app, and raises its revision.
    pub(crate) async fn update_app(&mut self, app: &App) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE apps SET name = $2, scopes = $3, token_lifetime = $4, not_issued_before = $5, \
             search = $6, revision = revision + 1 WHERE id = $1",
        )
        .bind(app.id.as_str())
        .bind(app.name.as_str())
        .bind(app.scopes.to_string())
        .bind(app.token_lifetime.as_str())
        .bind(seconds(app.not_issued_before))
        .bind(search_text(app.name.as_str()))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Deletes an app and its keys. The store refuses while a source is connected to it.
    pub(crate) async fn delete_app(&mut self, id: &AppId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM apps WHERE id = $1")
            .bind(id.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    pub(crate) async fn insert_app_key(&mut self, key: &AppKey) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO app_keys (id, app, name, pem, thumbprint, algorithm, created_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(key.id.as_str())
        .bind(key.app.as_str())
        .bind(key.name.as_str())
        .bind(key.pem.as_str())
        .bind(key.thumbprint.as_str())
        .bind(key.algorithm.as_str())
        .bind(seconds(key.created_at))
        .bind(key.expires_at.map(seconds))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    pub(crate) async fn delete_app_key(&mut self, id: &KeyId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM app_keys WHERE id = $1")
            .bind(id.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
