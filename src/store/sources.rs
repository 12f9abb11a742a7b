//! Sources, by id, app, kind and grants.

use super::rows::parameters;
use crate::model::source::Source;
use std::collections::HashMap;

use sqlx::FromRow;

use super::database::{ReadTx, WriteTx};
use super::error::StoreError;
use super::rows::all;
use super::rows::search_text;
use super::rows::{FIELD, LINE, fields};
use super::rows::{moment, number, seconds};
use crate::domain::ids::{AppId, MemberId, SourceId, WorkspaceId, WriteKey};
use crate::domain::name::Name;
use crate::domain::policy::Enforcement;
use crate::domain::role::Role;
use crate::domain::source_kind::SourceKind;
use crate::model::page::Page;

/// Selects the columns of a [`SourceRow`].
macro_rules! select_sources {
    ($rest:literal) => {
        concat!(
            "SELECT id, workspace, name, kind, write_key, enforcement, app, revision, created_at FROM sources ",
            $rest
        )
    };
}

#[derive(FromRow)]
pub(super) struct SourceRow {
    id: String,
    workspace: String,
    name: String,
    kind: String,
    write_key: String,
    enforcement: String,
    app: Option<String>,
    revision: i64,
    created_at: i64,
}

impl TryFrom<SourceRow> for Source {
    type Error = StoreError;

    fn try_from(row: SourceRow) -> Result<Self, StoreError> {
        let damaged = || StoreError::Corrupted("sources");
        Ok(Self {
            id: SourceId::parse(&row.id).map_err(|_| damaged())?,
            workspace: WorkspaceId::parse(&row.workspace).map_err(|_| damaged())?,
            name: Name::kept(&row.name).map_err(|_| damaged())?,
            kind: SourceKind::parse(&row.kind).ok_or_else(damaged)?,
            write_key: WriteKey::parse(&row.write_key).map_err(|_| damaged())?,
            enforcement: Enforcement::parse(&row.enforcement).ok_or_else(damaged)?,
            app: row
                .app
                .as_deref()
                .map(AppId::parse)
                .transpose()
                .map_err(|_| damaged())?,
            revision: number(row.revision, "sources")?,
            created_at: moment(row.created_at, "sources")?,
        })
    }
}

/// Ids in one statement.
const IDS_AT_ONCE: usize = 500;

fn ids_and_kinds(rows: &[(String, String)]) -> Result<Vec<(SourceId, SourceKind)>, StoreError> {
    let damaged = || StoreError::Corrupted("sources");
    rows.iter()
        .map(|(id, kind)| {
            let id = SourceId::parse(id).map_err(|_| damaged())?;
            Ok((id, SourceKind::parse(kind).ok_or_else(damaged)?))
        })
        .collect()
}

impl ReadTx {
    /// The ids and kinds of up to `limit` sources connected to the app: functions only, other sources only, or both.
    pub(crate) async fn sources_of_kinds(
        &mut self,
        app: &AppId,
        sources: bool,
        functions: bool,
        limit: u32,
    ) -> Result<Vec<(SourceId, SourceKind)>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT id, kind FROM sources WHERE app = $1 AND ((kind <> $2 AND $3 = 1) OR (kind = $2 AND $4 = 1)) \
             ORDER BY id LIMIT $5",
        )
        .bind(app.as_str())
        .bind(SourceKind::SourceFunction.as_str())
        .bind(i64::from(sources))
        .bind(i64::from(functions))
        .bind(i64::from(limit))
        .fetch_all(self.connection())
        .await?;
        ids_and_kinds(&rows)
    }

    /// The same for each app of a page, by the app's id.
    pub(crate) async fn sources_of_apps(
        &mut self,
        workspace: &WorkspaceId,
        page: Page<'_>,
        (sources, functions): (bool, bool),
        limit: u32,
    ) -> Result<HashMap<String, Vec<(SourceId, SourceKind)>>, StoreError> {
        // One text for each app: a page may have 200 apps with a thousand sources each.
        let rows: Vec<(String, Option<String>)> = sqlx::query_as(
            "SELECT a.id, (SELECT string_agg(f.kind || $1 || f.id, $2) FROM \
             (SELECT s.id, s.kind FROM sources s WHERE s.app = a.id \
             AND ((s.kind <> $3 AND $4 = 1) OR (s.kind = $3 AND $5 = 1)) ORDER BY s.id LIMIT $6) f) AS connected \
             FROM apps a WHERE a.workspace = $7 AND a.id > $8 ORDER BY a.id LIMIT $9",
        )
        .bind(FIELD)
        .bind(LINE)
        .bind(SourceKind::SourceFunction.as_str())
        .bind(i64::from(sources))
        .bind(i64::from(functions))
        .bind(i64::from(limit))
        .bind(workspace.as_str())
        .bind(page.after)
        .bind(i64::from(page.limit))
        .fetch_all(self.connection())
        .await?;
        let connected = |lines: &str| {
            let one = |line: &str| {
                let [kind, id] = fields(line, "sources")?;
                Ok((id.to_owned(), kind.to_owned()))
            };
            let rows: Result<Vec<_>, StoreError> = lines.split(LINE).map(one).collect();
            ids_and_kinds(&rows?)
        };
        rows.into_iter()
            .filter_map(|(app, lines)| Some((app, lines?)))
            .map(|(app, lines)| Ok((app, connected(&lines)?)))
            .collect()
    }

    /// The sources connected to any app that a member's grants list, by the app's id.
    pub(crate) async fn listed_sources_of_apps(
        &mut self,
        workspace: &WorkspaceId,
        member: &MemberId,
    ) -> Result<HashMap<String, Vec<(SourceId, SourceKind)>>, StoreError> {
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT app, id, kind FROM sources WHERE id IN (SELECT resource FROM grants WHERE member = $1) \
             AND workspace = $2 AND app IS NOT NULL ORDER BY id",
        )
        .bind(member.as_str())
        .bind(workspace.as_str())
        .fetch_all(self.connection())
        .await?;
        let mut found = HashMap::<_, Vec<_>>::new();
        for (app, id, kind) in rows {
            found
                .entry(app)
                .or_default()
                .extend(ids_and_kinds(&[(id, kind)])?);
        }
        Ok(found)
    }

    /// The same, only those that a member's grants list.
    pub(crate) async fn listed_sources_of(
        &mut self,
        app: &AppId,
        member: &MemberId,
        limit: u32,
    ) -> Result<Vec<(SourceId, SourceKind)>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT id, kind FROM sources WHERE id IN (SELECT resource FROM grants WHERE member = $1) \
             AND app = $2 ORDER BY id LIMIT $3",
        )
        .bind(member.as_str())
        .bind(app.as_str())
        .bind(i64::from(limit))
        .fetch_all(self.connection())
        .await?;
        ids_and_kinds(&rows)
    }

    /// Which of these ids are sources of the workspace, with their kinds.
    pub(crate) async fn kinds_of(
        &mut self,
        workspace: &WorkspaceId,
        ids: &[SourceId],
    ) -> Result<Vec<(SourceId, SourceKind)>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for some in ids.chunks(IDS_AT_ONCE) {
            let text = format!(
                "SELECT id, kind FROM sources WHERE workspace = $1 AND id IN ({})",
                parameters(2, some.len())
            );
            let mut query = sqlx::query_as::<_, (String, String)>(sqlx::AssertSqlSafe(text))
                .persistent(false)
                .bind(workspace.as_str());
            for id in some {
                query = query.bind(id.as_str());
            }
            found.extend(ids_and_kinds(&query.fetch_all(self.connection()).await?)?);
        }
        Ok(found)
    }

    pub(crate) async fn source(
        &mut self,
        workspace: &WorkspaceId,
        id: &SourceId,
    ) -> Result<Option<Source>, StoreError> {
        sqlx::query_as::<_, SourceRow>(select_sources!("WHERE id = $1 AND workspace = $2"))
            .bind(id.as_str())
            .bind(workspace.as_str())
            .fetch_optional(self.connection())
            .await?
            .map(Source::try_from)
            .transpose()
    }

    pub(crate) async fn sources(
        &mut self,
        workspace: &WorkspaceId,
        page: Page<'_>,
    ) -> Result<Vec<Source>, StoreError> {
        let rows = sqlx::query_as::<_, SourceRow>(select_sources!(
            "WHERE workspace = $1 AND id > $2 ORDER BY id LIMIT $3"
        ))
        .bind(workspace.as_str())
        .bind(page.after)
        .bind(i64::from(page.limit))
        .fetch_all(self.connection())
        .await?;
        all(rows)
    }

    /// One page of the workspace's sources of one kind.
    pub(crate) async fn sources_of_kind(
        &mut self,
        workspace: &WorkspaceId,
        kind: SourceKind,
        page: Page<'_>,
    ) -> Result<Vec<Source>, StoreError> {
        let rows = sqlx::query_as::<_, SourceRow>(select_sources!(
            "WHERE workspace = $1 AND kind = $2 AND id > $3 ORDER BY id LIMIT $4"
        ))
        .bind(workspace.as_str())
        .bind(kind.as_str())
        .bind(page.after)
        .bind(i64::from(page.limit))
        .fetch_all(self.connection())
        .await?;
        all(rows)
    }

    /// One page of the sources of one kind that the member's grants list.
    pub(crate) async fn listed_sources(
        &mut self,
        workspace: &WorkspaceId,
        kind: SourceKind,
        member: &MemberId,
        page: Page<'_>,
    ) -> Result<Vec<Source>, StoreError> {
        let (admin, read_only) = if kind == SourceKind::SourceFunction {
            (Role::FunctionAdmin, Role::FunctionReadOnly)
        } else {
            (Role::SourceAdmin, Role::SourceReadOnly)
        };
        let rows = sqlx::query_as::<_, SourceRow>(select_sources!(
            "WHERE id IN \
             (SELECT resource FROM grants WHERE member = $1 AND role IN ($2, $3) AND resource > $4) \
             AND workspace = $5 AND kind = $6 ORDER BY id LIMIT $7"
        ))
        .bind(member.as_str())
        .bind(admin.as_str())
        .bind(read_only.as_str())
        .bind(page.after)
        .bind(workspace.as_str())
        .bind(kind.as_str())
        .bind(i64::from(page.limit))
        .fetch_all(self.connection())
        .await?;
        all(rows)
    }

    /// How many sources the app is connected to.
    pub(crate) async fn count_sources_of(&mut self, app: &AppId) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sources WHERE app = $1")
            .bind(app.as_str())
            .fetch_one(self.connection())
            .await?;
        number(count, "sources")
    }

    /// The source of the workspace with this digest of its write key.
    pub(crate) async fn source_of_write_key(
        &mut self,
        workspace: &WorkspaceId,
        digest: &str,
    ) -> Result<Option<Source>, StoreError> {
        sqlx::query_as::<_, SourceRow>(
            "SELECT id, workspace, name, kind, write_key, enforcement, app, revision, created_at \
             FROM sources WHERE write_key_digest = $1 AND workspace = $2",
        )
        .bind(digest)
        .bind(workspace.as_str())
        .fetch_optional(self.connection())
        .await?
        .map(Source::try_from)
        .transpose()
    }

    /// Whether a source of any workspace has the write key with this digest.
    pub(crate) async fn has_write_key(&mut self, digest: &str) -> Result<bool, StoreError> {
        let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM sources WHERE write_key_digest = $1")
            .bind(digest)
            .fetch_optional(self.connection())
            .await?;
        Ok(found.is_some())
    }
}

impl WriteTx {
    pub(crate) async fn insert_source(&mut self, source: &Source, digest: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO sources (id, workspace, name, kind, write_key, write_key_digest, enforcement, app, \
             created_at, search) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(source.id.as_str())
        .bind(source.workspace.as_str())
        .bind(source.name.as_str())
        .bind(source.kind.as_str())
        .bind(source.write_key.expose())
        .bind(digest)
        .bind(source.enforcement.as_str())
        .bind(source.app.as_ref().map(AppId::as_str))
        .bind(seconds(source.created_at))
        .bind(search_text(source.name.as_str()))
        .execute(self.connection())
        .await?;
        self.count_sources(source.workspace.as_str(), source.enforcement.as_str(), 1)
            .await
    }

    /// Stores what can change of a source.
    pub(crate) async fn update_source(&mut self, source: &Source) -> Result<(), StoreError> {
        if let Some((workspace, before)) = self.counted_under(&source.id).await?
            && before != source.enforcement.as_str()
        {
            self.count_sources(&workspace, &before, -1).await?;
            self.count_sources(&workspace, source.enforcement.as_str(), 1)
                .await?;
        }
        sqlx::query(
            "UPDATE sources SET name = $2, enforcement = $3, app = $4, search = $5, revision = revision + 1 \
             WHERE id = $1",
        )
        .bind(source.id.as_str())
        .bind(source.name.as_str())
        .bind(source.enforcement.as_str())
        .bind(source.app.as_ref().map(AppId::as_str))
        .bind(search_text(source.name.as_str()))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    pub(crate) async fn delete_source(&mut self, id: &SourceId) -> Result<(), StoreError> {
        if let Some((workspace, enforcement)) = self.counted_under(id).await? {
            self.count_sources(&workspace, &enforcement, -1).await?;
        }
        sqlx::query("DELETE FROM sources WHERE id = $1")
            .bind(id.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// The workspace and enforcement that a source is counted under.
    async fn counted_under(&mut self, id: &SourceId) -> Result<Option<(String, String)>, StoreError> {
        Ok(
            sqlx::query_as("SELECT workspace, enforcement FROM sources WHERE id = $1")
                .bind(id.as_str())
                .fetch_optional(self.connection())
                .await?,
        )
    }

    /// Adds to the count of an enforcement; negative numbers subtract.
    async fn count_sources(
        &mut self,
        workspace: &str,
        enforcement: &str,
        more: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO source_counts (workspace, enforcement, sources) VALUES ($1, $2, $3) \
             ON CONFLICT (workspace, enforcement) DO UPDATE SET sources = source_counts.sources + excluded.sources",
        )
        .bind(workspace)
        .bind(enforcement)
        .bind(more)
        .execute(self.connection())
        .await?;
        Ok(())
    }
}
