//! Lists that people search: by a part of the name, by kind, enforcement and app, with what a list shows beside.

use sqlx::FromRow;

use super::directory::{AppKey, Page};
use super::sources::{Source, SourceRow};
use super::{ReadTx, StoreError, number};
use crate::domain::ids::{AppId, MemberId, WorkspaceId};
use crate::domain::policy::Enforcement;
use crate::domain::role::Role;
use crate::domain::source_kind::SourceKind;

/// Which sources a list shows.
#[derive(Clone, Debug, Default)]
pub struct SourceFilter<'a> {
    /// A part of the name, letters of either case; empty for every name.
    pub text: &'a str,
    pub kind: Option<SourceKind>,
    /// Every kind but this one.
    pub but_kind: Option<SourceKind>,
    pub enforcement: Option<Enforcement>,
    pub app: Option<AppId>,
}

/// A source, with the name of the app it is connected to.
#[derive(Clone, Debug)]
pub struct SourceSummary {
    pub source: Source,
    pub app_name: Option<String>,
}

#[derive(FromRow)]
struct SummaryRow {
    #[sqlx(flatten)]
    source: SourceRow,
    app_name: Option<String>,
}

/// A name as it is searched in.
pub(super) fn folded(name: &str) -> String {
    name.to_lowercase()
}

/// What a `LIKE` finds the text with, wherever it stands in a folded name. `\` is its escape.
fn pattern(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for letter in folded(text).chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

macro_rules! find {
    ($driver:literal) => {
        concat!(
            "SELECT s.id, s.workspace, s.name, s.kind, s.write_key, s.enforcement, s.app, s.revision, s.created_at, \
             a.name AS app_name FROM sources s LEFT JOIN apps a ON a.id = s.app \
             WHERE s.workspace = $1 AND s.id IN (SELECT f.id FROM sources f WHERE ",
            $driver,
            " AND f.id > $2 AND ($3 = '' OR f.search LIKE $3 ESCAPE '\\') AND ($4 = '' OR f.kind = $4) AND f.kind <> $11 \
             AND ($5 = '' OR f.app = $5) AND ($6 = '' OR f.enforcement = $6) \
             AND ($7 = '' OR f.id IN (SELECT resource FROM grants WHERE member = $7 AND role IN ($8, $9))) \
             ORDER BY f.id LIMIT $10) ORDER BY s.id"
        )
    };
}

/// Finds sources by the index that holds all that they are filtered by; the rows of one page alone are read.
const FIND: &str = find!("f.workspace = $1");

/// The same by the index of an app's sources, which may be few among many.
const FIND_OF_APP: &str = find!("f.app = $5");

/// The same by the index of a kind, which few sources may have. Every revision is above 0: that it is asked for keeps
/// `SQLite` from going through the index that holds everything else, from its beginning to its end.
const FIND_OF_KIND: &str = find!("f.workspace = $1 AND f.kind = $4 AND f.revision > 0");

/// The same by the index of an enforcement.
const FIND_OF_ENFORCEMENT: &str = find!("f.workspace = $1 AND f.enforcement = $6 AND f.revision > 0");

impl ReadTx {
    /// One page of the sources that the filter finds. With `listed`, of those alone that the member's grants
    /// list one by one; the filter names one kind then.
    pub(crate) async fn find_sources(
        &mut self,
        workspace: &WorkspaceId,
        filter: &SourceFilter<'_>,
        listed: Option<&MemberId>,
        page: Page<'_>,
    ) -> Result<Vec<SourceSummary>, StoreError> {
        let (admin, read_only) = if filter.kind == Some(SourceKind::SourceFunction) {
            (Role::FunctionAdmin, Role::FunctionReadOnly)
        } else {
            (Role::SourceAdmin, Role::SourceReadOnly)
        };
        // A text may be in no name at all: the index that holds the names is the quickest to go through.
        let of_any_name = filter.text.is_empty();
        let statement = match (&filter.app, filter.enforcement, filter.kind) {
            (Some(_), _, _) => FIND_OF_APP,
            (None, Some(_), _) if of_any_name => FIND_OF_ENFORCEMENT,
            (None, None, Some(_)) if of_any_name => FIND_OF_KIND,
            (None, _, _) => FIND,
        };
        let rows = sqlx::query_as::<_, SummaryRow>(statement)
            .bind(workspace.as_str())
            .bind(page.after)
            .bind(pattern(filter.text))
            .bind(filter.kind.map_or("", SourceKind::as_str))
            .bind(filter.app.as_ref().map_or("", AppId::as_str))
            .bind(filter.enforcement.map_or("", Enforcement::as_str))
            .bind(listed.map_or("", MemberId::as_str))
            .bind(admin.as_str())
            .bind(read_only.as_str())
            .bind(i64::from(page.limit))
            .bind(filter.but_kind.map_or("", SourceKind::as_str))
            .fetch_all(self.connection())
            .await?;
        rows.into_iter()
            .map(|row| {
                Ok(SourceSummary {
                    source: row.source.try_into()?,
                    app_name: row.app_name,
                })
            })
            .collect()
    }

    /// Ids of one page of the apps with this text in their names.
    pub(crate) async fn find_apps(
        &mut self,
        workspace: &WorkspaceId,
        text: &str,
        page: Page<'_>,
    ) -> Result<Vec<super::directory::App>, StoreError> {
        let rows = sqlx::query_as::<_, super::directory::AppRow>(
            "SELECT id, workspace, name, scopes, token_lifetime, not_issued_before, revision, created_at \
             FROM apps WHERE workspace = $1 AND id > $2 \
             AND ($3 = '' OR search LIKE $3 ESCAPE '\\') ORDER BY id LIMIT $4",
        )
        .bind(workspace.as_str())
        .bind(page.after)
        .bind(pattern(text))
        .bind(i64::from(page.limit))
        .fetch_all(self.connection())
        .await?;
        super::directory::all(rows)
    }

    /// How many sources are connected to the app, whoever may view them.
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
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT enforcement, COUNT(*) FROM sources WHERE workspace = $1 GROUP BY enforcement",
        )
        .bind(workspace.as_str())
        .fetch_all(self.connection())
        .await?;
        rows.into_iter()
            .map(|(word, count)| {
                let mode = Enforcement::parse(&word).ok_or(StoreError::Damaged("sources"))?;
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

/// An app in a list.
#[derive(Clone, Debug)]
pub struct AppSummary {
    pub app: super::directory::App,
    pub keys: Vec<AppKey>,
    /// Sources connected to it.
    pub sources: u64,
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn signs_of_the_pattern_are_letters_in_a_search() {
        assert_eq!(pattern(""), "");
        assert_eq!(pattern("A_b%C\\"), "%a\\_b\\%c\\\\%");
    }
}
