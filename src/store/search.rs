//! Search by part of a name, kind, enforcement and app, for lists.

use super::rows::search_text;
use crate::model::search::{Blocker, Found, SourceFilter, SourceSummary, names_at_once, text_cost};
use crate::model::source::Source;
use sqlx::FromRow;

use super::database::ReadTx;
use super::directory::{AppRow, select_apps};
use super::error::StoreError;
use super::rows::all;
use super::rows::number;
use super::sources::SourceRow;
use crate::domain::ids::{AppId, MemberId, WorkspaceId};
use crate::domain::policy::Enforcement;
use crate::domain::role::Role;
use crate::domain::source_kind::SourceKind;
use crate::model::app::App;
use crate::model::page::Page;

#[derive(FromRow)]
struct SummaryRow {
    #[sqlx(flatten)]
    source: SourceRow,
    app_name: Option<String>,
    app_scopes: Option<String>,
    app_keys: i64,
}

/// The most sources that one search for a short text reads one by one. Larger workspaces are searched in parts.
const FULL_SEARCH_MAX: u64 = 120_000;

/// The range of ids that one search covers.
pub(crate) struct Range {
    /// The last id.
    pub to: String,
    /// Whether there may be matches after it.
    is_cut: bool,
    /// How many names the search covers if it is cut.
    names: u32,
}

impl Range {
    /// The result for a page.
    pub(crate) fn found<T>(self, items: Vec<T>, page: Page<'_>) -> Found<T> {
        let has_room = u32::try_from(items.len()).is_ok_and(|held| held < page.limit);
        Found {
            items,
            searched_to: (self.is_cut && has_room).then_some(self.to),
            names: self.names,
        }
    }
}

/// The queries that find the end of a range.
struct Ends {
    /// The id that is `$3` rows after another.
    stop: &'static str,
    /// The last id of all.
    last: &'static str,
}

const OF_SOURCES: Ends = Ends {
    stop: "SELECT id FROM sources WHERE workspace = $1 AND id > $2 ORDER BY id LIMIT 1 OFFSET $3",
    last: "SELECT MAX(id) FROM sources WHERE workspace = $1",
};

const OF_APPS: Ends = Ends {
    stop: "SELECT id FROM apps WHERE workspace = $1 AND id > $2 ORDER BY id LIMIT 1 OFFSET $3",
    last: "SELECT MAX(id) FROM apps WHERE workspace = $1",
};

// INVARIANT: a text is found with `REPLACE`, not `LIKE`. `LIKE` compares letter by letter at every position: a name
// and a text of one repeated letter took eighty times as long. `REPLACE` in both databases compares whole texts.
macro_rules! find {
    ($driver:literal) => {
        concat!(
            "SELECT s.id, s.workspace, s.name, s.kind, s.write_key, s.enforcement, s.app, s.revision, s.created_at, \
             a.name AS app_name, a.scopes AS app_scopes, \
             (SELECT COUNT(*) FROM app_keys k WHERE k.app = a.id) AS app_keys FROM sources s LEFT JOIN apps a ON a.id = s.app \
             WHERE s.workspace = $1 AND s.id IN (SELECT f.id FROM sources f WHERE ",
            $driver,
            " AND ($3 = '' OR REPLACE(f.search, $3, '') <> f.search) AND ($4 = '' OR f.kind = $4) \
             AND f.kind <> $8 AND ($5 = '' OR f.app = $5) AND ($6 = '' OR f.enforcement = $6) \
             ORDER BY f.id LIMIT $7) ORDER BY s.id"
        )
    };
}

/// Uses the index that covers every filter; only the rows of one page are read.
const FIND: &str = find!("f.workspace = $1 AND f.id > $2 AND f.id <= $9");

/// Uses the index of an app's sources, which may be few among many.
const FIND_OF_APP: &str = find!("f.app = $5 AND f.id > $2 AND f.id <= $9");

/// Uses the index of a kind, which may have few sources. Every revision is above 0; the condition keeps `SQLite` from
/// scanning the covering index from beginning to end.
const FIND_OF_KIND: &str =
    find!("f.workspace = $1 AND f.kind = $4 AND f.id > $2 AND f.id <= $9 AND f.revision > 0");

/// Uses the index of an enforcement.
const FIND_OF_ENFORCEMENT: &str =
    find!("f.workspace = $1 AND f.enforcement = $6 AND f.id > $2 AND f.id <= $9 AND f.revision > 0");

/// Only sources that a member's grants list one by one. The range is applied to the grants; applied to the sources,
/// it would scan all of them.
const FIND_LISTED: &str = find!(
    "f.workspace = $1 AND f.id IN (SELECT resource FROM grants \
     WHERE member = $10 AND role IN ($11, $12) AND resource > $2 AND resource <= $9)"
);

impl ReadTx {
    /// The end of a search that begins after an id.
    ///
    /// It is the last source, unless the search would read more than [`FULL_SEARCH_MAX`] sources one by one. With
    /// `by_kind`, each kind is searched in turn.
    pub(crate) async fn end_of_source_search(
        &mut self,
        workspace: &WorkspaceId,
        filter: &SourceFilter<'_>,
        after: &str,
        by_kind: bool,
    ) -> Result<Range, StoreError> {
        // An app has few enough sources to check the kind of each.
        let of_kind = filter.kind.is_some() || (by_kind && filter.app.is_none());
        let chosen = [of_kind, filter.enforcement.is_some(), filter.app.is_some()];
        let has_index =
            filter.text.is_empty() && chosen.into_iter().filter(|is_chosen| *is_chosen).count() < 2;
        let most = FULL_SEARCH_MAX / u64::from(text_cost(filter.text));
        let is_long = !has_index && self.count_of_sources(workspace).await? > most;
        let names = names_at_once(filter.text);
        self.searched_to(&OF_SOURCES, workspace, after, is_long.then_some(names))
            .await
    }

    async fn searched_to(
        &mut self,
        ends: &Ends,
        workspace: &WorkspaceId,
        after: &str,
        limit: Option<u32>,
    ) -> Result<Range, StoreError> {
        if let Some(names) = limit {
            let stop: Option<String> = sqlx::query_scalar(ends.stop)
                .bind(workspace.as_str())
                .bind(after)
                .bind(i64::from(names) - 1)
                .fetch_optional(self.connection())
                .await?;
            if let Some(to) = stop {
                return Ok(Range {
                    to,
                    is_cut: true,
                    names,
                });
            }
        }
        let last: Option<String> = sqlx::query_scalar(ends.last)
            .bind(workspace.as_str())
            .fetch_one(self.connection())
            .await?;
        Ok(Range {
            to: last.unwrap_or_default(),
            is_cut: false,
            names: limit.unwrap_or_default(),
        })
    }

    async fn count_of_sources(&mut self, workspace: &WorkspaceId) -> Result<u64, StoreError> {
        let counts = self.enforcement_counts(workspace).await?;
        Ok(counts.into_iter().map(|(_, count)| count).sum())
    }

    /// One page of the sources that match the filter, up to the end of the search. With `listed`, only sources that
    /// the member's grants list one by one; the filter then names one kind.
    pub(crate) async fn find_sources(
        &mut self,
        workspace: &WorkspaceId,
        filter: &SourceFilter<'_>,
        listed: Option<&MemberId>,
        page: Page<'_>,
        to: &str,
    ) -> Result<Vec<SourceSummary>, StoreError> {
        // A text may match no name at all: the index that contains the names is the fastest to scan.
        let of_any_name = filter.text.is_empty();
        let statement = match (listed, &filter.app, filter.enforcement, filter.kind) {
            (Some(_), _, _, _) => FIND_LISTED,
            (None, Some(_), _, _) => FIND_OF_APP,
            (None, None, Some(_), None) if of_any_name => FIND_OF_ENFORCEMENT,
            (None, None, None, Some(_)) if of_any_name => FIND_OF_KIND,
            (None, None, _, _) => FIND,
        };
        let mut query = sqlx::query_as::<_, SummaryRow>(statement)
            .bind(workspace.as_str())
            .bind(page.after)
            .bind(search_text(filter.text))
            .bind(filter.kind.map_or("", SourceKind::as_str))
            .bind(filter.app.as_ref().map_or("", AppId::as_str))
            .bind(filter.enforcement.map_or("", Enforcement::as_str))
            .bind(i64::from(page.limit))
            .bind(filter.but_kind.map_or("", SourceKind::as_str))
            .bind(to);
        if let Some(member) = listed {
            let (admin, read_only) = if filter.kind == Some(SourceKind::SourceFunction) {
                (Role::FunctionAdmin, Role::FunctionReadOnly)
            } else {
                (Role::SourceAdmin, Role::SourceReadOnly)
            };
            query = query
                .bind(member.as_str())
                .bind(admin.as_str())
                .bind(read_only.as_str());
        }
        let rows = query.fetch_all(self.connection()).await?;
        rows.into_iter()
            .map(|row| {
                let source: Source = row.source.try_into()?;
                let keys = number(row.app_keys, "app_keys")?;
                let app = row.app_scopes.as_deref().map(|scopes| (scopes.split(' '), keys));
                Ok(SourceSummary {
                    blocker: Blocker::of(source.kind, app),
                    source,
                    app_name: row.app_name,
                })
            })
            .collect()
    }

    /// One page of the apps with this text in their names.
    pub(crate) async fn find_apps(
        &mut self,
        workspace: &WorkspaceId,
        text: &str,
        page: Page<'_>,
    ) -> Result<Found<App>, StoreError> {
        let limit = (!text.is_empty()).then(|| names_at_once(text));
        let range = self.searched_to(&OF_APPS, workspace, page.after, limit).await?;
        let rows = sqlx::query_as::<_, AppRow>(select_apps!(
            "WHERE workspace = $1 AND id > $2 AND id <= $5 \
             AND ($3 = '' OR REPLACE(search, $3, '') <> search) ORDER BY id LIMIT $4"
        ))
        .bind(workspace.as_str())
        .bind(page.after)
        .bind(search_text(text))
        .bind(i64::from(page.limit))
        .bind(range.to.as_str())
        .fetch_all(self.connection())
        .await?;
        Ok(range.found(all(rows)?, page))
    }

    /// How many sources are connected to the app, visible to the actor or not.
    pub(crate) async fn sources_connected(&mut self, app: &AppId) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sources WHERE app = $1")
            .bind(app.as_str())
            .fetch_one(self.connection())
            .await?;
        number(count, "sources")
    }

    /// How many sources of the workspace have each enforcement.
    pub(crate) async fn enforcement_counts(
        &mut self,
        workspace: &WorkspaceId,
    ) -> Result<Vec<(Enforcement, u64)>, StoreError> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT enforcement, sources FROM source_counts WHERE workspace = $1")
                .bind(workspace.as_str())
                .fetch_all(self.connection())
                .await?;
        rows.into_iter()
            .map(|(word, count)| {
                let mode = Enforcement::parse(&word).ok_or(StoreError::Corrupted("sources"))?;
                Ok((mode, number(count, "sources")?))
            })
            .collect()
    }

    /// The addresses of up to `limit` owners of the workspace.
    pub(crate) async fn owners(
        &mut self,
        workspace: &WorkspaceId,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT a.email FROM members m JOIN accounts a ON a.id = m.account \
             JOIN grants g ON g.member = m.id AND g.role = $2 \
             WHERE m.workspace = $1 AND m.joined_at IS NOT NULL ORDER BY m.id LIMIT $3",
        )
        .bind(workspace.as_str())
        .bind(Role::WorkspaceOwner.as_str())
        .bind(i64::from(limit))
        .fetch_all(self.connection())
        .await?)
    }
}
