//! Memberships of workspaces, with their roles and invitations.

use crate::model::member::Member;
use std::collections::HashMap;

use sqlx::FromRow;

use super::database::{ReadTx, WriteTx};
use super::directory::WorkspaceRow;
use super::error::StoreError;
use super::rows::LINE;
use super::rows::all;
use super::rows::{moment, number, seconds};
use crate::domain::ids::{AccountId, MemberId, SourceId, WorkspaceId};
use crate::domain::role::{Assigned, Grant, Grants, Role};
use crate::domain::time::UnixSeconds;
use crate::model::page::Page;
use crate::model::workspace::Workspace;

/// The `resource` of a grant for every resource of its role.
const ALL: &str = "*";

/// Grants inserted by one statement.
const GRANTS_AT_ONCE: usize = 500;

/// An invitation, found by its secret.
#[derive(Debug)]
pub struct Invitation {
    pub workspace: WorkspaceId,
    pub member: MemberId,
}

/// Selects the columns of a [`MemberRow`].
macro_rules! select_members {
    ($rest:literal) => {
        concat!(
            "SELECT m.id, m.workspace, m.account, a.email, m.revision, m.created_at, m.joined_at \
             FROM members m JOIN accounts a ON a.id = m.account ",
            $rest
        )
    };
}
pub(super) use select_members;

/// Workspaces and members from their ids, as `members.workspace` and `members.id` hold them.
pub(super) fn memberships(rows: Vec<(String, String)>) -> Result<Vec<(WorkspaceId, MemberId)>, StoreError> {
    let corrupted = |_| StoreError::Corrupted("members");
    rows.into_iter()
        .map(|(workspace, id)| {
            let workspace = WorkspaceId::parse(&workspace).map_err(corrupted)?;
            Ok((workspace, MemberId::parse(&id).map_err(corrupted)?))
        })
        .collect()
}

#[derive(FromRow)]
pub(super) struct MemberRow {
    id: String,
    workspace: String,
    account: String,
    email: String,
    revision: i64,
    created_at: i64,
    joined_at: Option<i64>,
}

impl MemberRow {
    fn with(self, grants: Grants) -> Result<Member, StoreError> {
        let damaged = || StoreError::Corrupted("members");
        Ok(Member {
            id: MemberId::parse(&self.id).map_err(|_| damaged())?,
            workspace: WorkspaceId::parse(&self.workspace).map_err(|_| damaged())?,
            account: AccountId::parse(&self.account).map_err(|_| damaged())?,
            email: self.email,
            grants,
            revision: number(self.revision, "members")?,
            created_at: moment(self.created_at, "members")?,
            joined_at: self.joined_at.map(|at| moment(at, "members")).transpose()?,
        })
    }
}

impl ReadTx {
    /// The account's joined membership of a workspace.
    pub(crate) async fn membership(
        &mut self,
        workspace: &WorkspaceId,
        account: &AccountId,
    ) -> Result<Option<Member>, StoreError> {
        let row: Option<MemberRow> = sqlx::query_as(select_members!(
            "WHERE m.workspace = $1 AND m.account = $2 AND m.joined_at IS NOT NULL"
        ))
        .bind(workspace.as_str())
        .bind(account.as_str())
        .fetch_optional(self.connection())
        .await?;
        self.with_grants_if_any(row).await
    }

    /// A member of a workspace, joined or invited.
    pub(crate) async fn member(
        &mut self,
        workspace: &WorkspaceId,
        id: &MemberId,
    ) -> Result<Option<Member>, StoreError> {
        let row: Option<MemberRow> = sqlx::query_as(select_members!("WHERE m.workspace = $1 AND m.id = $2"))
            .bind(workspace.as_str())
            .bind(id.as_str())
            .fetch_optional(self.connection())
            .await?;
        self.with_grants_if_any(row).await
    }

    /// One page of a workspace's members, joined or invited.
    pub(crate) async fn members(
        &mut self,
        workspace: &WorkspaceId,
        page: Page<'_>,
    ) -> Result<Vec<Member>, StoreError> {
        let rows: Vec<MemberRow> = sqlx::query_as(select_members!(
            "WHERE m.workspace = $1 AND m.id > $2 ORDER BY m.id LIMIT $3"
        ))
        .bind(workspace.as_str())
        .bind(page.after)
        .bind(i64::from(page.limit))
        .fetch_all(self.connection())
        .await?;
        let mut granted = self.grants_of_members(workspace, page).await?;
        rows.into_iter()
            .map(|row| {
                let grants = granted.remove(&row.id).unwrap_or_default();
                row.with(grants_of(&grants)?)
            })
            .collect()
    }

    /// The grants of each member of a page: roles with their resources, in order.
    async fn grants_of_members(
        &mut self,
        workspace: &WorkspaceId,
        page: Page<'_>,
    ) -> Result<HashMap<String, Vec<(String, String)>>, StoreError> {
        // One text for each role, since a member may have a thousand resources in it.
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT member, role, string_agg(resource, $1) FROM grants WHERE member IN \
             (SELECT id FROM members WHERE workspace = $2 AND id > $3 ORDER BY id LIMIT $4) \
             GROUP BY member, role ORDER BY member, role",
        )
        .bind(LINE)
        .bind(workspace.as_str())
        .bind(page.after)
        .bind(i64::from(page.limit))
        .fetch_all(self.connection())
        .await?;
        let mut found = HashMap::<_, Vec<_>>::new();
        for (member, role, lines) in rows {
            let mut resources: Vec<&str> = lines.split(LINE).collect();
            resources.sort_unstable();
            let grants = resources.into_iter().map(|id| (role.clone(), id.to_owned()));
            found.entry(member).or_default().extend(grants);
        }
        Ok(found)
    }

    /// How many owners have joined a workspace, without the member `but`.
    pub(crate) async fn count_other_owners(
        &mut self,
        workspace: &WorkspaceId,
        but: &MemberId,
    ) -> Result<u64, StoreError> {
        let owners: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM members m JOIN grants g ON g.member = m.id \
             WHERE m.workspace = $1 AND m.id <> $2 AND m.joined_at IS NOT NULL AND g.role = $3",
        )
        .bind(workspace.as_str())
        .bind(but.as_str())
        .bind(Role::WorkspaceOwner.as_str())
        .fetch_one(self.connection())
        .await?;
        number(owners, "members")
    }

    /// Whether the account has joined every workspace of the store as an owner.
    pub(crate) async fn owns_every_workspace(&mut self, account: &AccountId) -> Result<bool, StoreError> {
        let anothers: Option<String> = sqlx::query_scalar(
            "SELECT w.id FROM workspaces w WHERE NOT EXISTS (SELECT m.id FROM members m \
             JOIN grants g ON g.member = m.id WHERE m.workspace = w.id AND m.account = $1 \
             AND m.joined_at IS NOT NULL AND g.role = $2) LIMIT 1",
        )
        .bind(account.as_str())
        .bind(Role::WorkspaceOwner.as_str())
        .fetch_optional(self.connection())
        .await?;
        Ok(anothers.is_none())
    }

    /// How many workspaces there are; two stands for more.
    pub(crate) async fn workspace_count(&mut self) -> Result<u64, StoreError> {
        let some: Vec<String> = sqlx::query_scalar("SELECT id FROM workspaces LIMIT 2")
            .fetch_all(self.connection())
            .await?;
        Ok(some.len() as u64)
    }

    /// Whether nobody has joined any workspace yet.
    pub(crate) async fn is_without_members(&mut self) -> Result<bool, StoreError> {
        let found: Option<String> =
            sqlx::query_scalar("SELECT id FROM members WHERE joined_at IS NOT NULL LIMIT 1")
                .fetch_optional(self.connection())
                .await?;
        Ok(found.is_none())
    }

    /// The invitation with the hash of this secret, if it has not expired at `now`.
    pub(crate) async fn invitation(
        &mut self,
        hash: &str,
        now: UnixSeconds,
    ) -> Result<Option<Invitation>, StoreError> {
        let row: Option<(String, String)> = sqlx::query_as(
            "SELECT m.workspace, m.id FROM invitations i JOIN members m ON m.id = i.member \
             WHERE i.hash = $1 AND i.expires_at > $2 AND m.joined_at IS NULL",
        )
        .bind(hash)
        .bind(seconds(now))
        .fetch_optional(self.connection())
        .await?;
        let damaged = |_| StoreError::Corrupted("members");
        row.map(|(workspace, member)| {
            Ok(Invitation {
                workspace: WorkspaceId::parse(&workspace).map_err(damaged)?,
                member: MemberId::parse(&member).map_err(damaged)?,
            })
        })
        .transpose()
    }

    async fn with_grants_if_any(&mut self, row: Option<MemberRow>) -> Result<Option<Member>, StoreError> {
        match row {
            None => Ok(None),
            Some(row) => Ok(Some(self.with_grants(row).await?)),
        }
    }

    pub(super) async fn with_grants(&mut self, row: MemberRow) -> Result<Member, StoreError> {
        let grants: Vec<(String, String)> =
            sqlx::query_as("SELECT role, resource FROM grants WHERE member = $1 ORDER BY role, resource")
                .bind(row.id.as_str())
                .fetch_all(self.connection())
                .await?;
        row.with(grants_of(&grants)?)
    }

    /// The workspaces with this id or name, two at most: one that is named so is told from several.
    pub(crate) async fn workspaces_named(&mut self, text: &str) -> Result<Vec<Workspace>, StoreError> {
        let rows = sqlx::query_as::<_, WorkspaceRow>(
            "SELECT id, name, revision, created_at FROM workspaces WHERE id = $1 OR name = $1 ORDER BY id LIMIT 2",
        )
        .bind(text)
        .fetch_all(self.connection())
        .await?;
        all(rows)
    }

    /// The workspaces that the account has joined.
    pub(crate) async fn workspaces_of(
        &mut self,
        account: &AccountId,
        page: Page<'_>,
    ) -> Result<Vec<Workspace>, StoreError> {
        let rows = sqlx::query_as::<_, WorkspaceRow>(
            "SELECT w.id, w.name, w.revision, w.created_at FROM members m JOIN workspaces w ON w.id = m.workspace \
             WHERE m.account = $1 AND m.workspace > $2 AND m.joined_at IS NOT NULL ORDER BY m.workspace LIMIT $3",
        )
        .bind(account.as_str())
        .bind(page.after)
        .bind(i64::from(page.limit))
        .fetch_all(self.connection())
        .await?;
        all(rows)
    }
}

/// The grants in one member's rows, which are ordered by role.
fn grants_of(rows: &[(String, String)]) -> Result<Grants, StoreError> {
    let damaged = || StoreError::Corrupted("grants");
    rows.chunk_by(|(one, _), (other, _)| one == other)
        .map(|rows| {
            let role = rows.first().and_then(|(role, _)| Role::parse(role));
            let resources = if rows.iter().any(|(_, resource)| resource == ALL) {
                Assigned::All
            } else {
                let ids: Result<_, _> = rows.iter().map(|(_, id)| SourceId::parse(id)).collect();
                Assigned::Listed(ids.map_err(|_| damaged())?)
            };
            Ok(Grant {
                role: role.ok_or_else(damaged)?,
                resources,
            })
        })
        .collect()
}

impl WriteTx {
    /// Inserts a member with its grants. The account exists already.
    pub(crate) async fn insert_member(&mut self, member: &Member) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO members (id, workspace, account, revision, created_at, joined_at) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(member.id.as_str())
        .bind(member.workspace.as_str())
        .bind(member.account.as_str())
        .bind(i64::try_from(member.revision).unwrap_or(i64::MAX))
        .bind(seconds(member.created_at))
        .bind(member.joined_at.map(seconds))
        .execute(self.connection())
        .await?;
        self.replace_grants(&member.id, &member.grants).await
    }

    /// Replaces a member's grants.
    pub(crate) async fn replace_grants(
        &mut self,
        member: &MemberId,
        grants: &Grants,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM grants WHERE member = $1")
            .bind(member.as_str())
            .execute(self.connection())
            .await?;
        for grant in grants.iter() {
            let resources: Vec<&str> = match &grant.resources {
                Assigned::All => vec![ALL],
                Assigned::Listed(ids) => ids.iter().map(SourceId::as_str).collect(),
            };
            for some in resources.chunks(GRANTS_AT_ONCE) {
                let rows: Vec<String> = (3..3 + some.len()).map(|at| format!("($1, $2, ${at})")).collect();
                let text = format!(
                    "INSERT INTO grants (member, role, resource) VALUES {} \
                     ON CONFLICT (member, role, resource) DO NOTHING",
                    rows.join(", ")
                );
                let mut query = sqlx::query(sqlx::AssertSqlSafe(text))
                    .persistent(false)
                    .bind(member.as_str())
                    .bind(grant.role.as_str());
                for resource in some {
                    query = query.bind(*resource);
                }
                query.execute(self.connection()).await?;
            }
        }
        Ok(())
    }

    /// Replaces a member's grants, and raises the membership's revision.
    pub(crate) async fn update_grants(
        &mut self,
        member: &MemberId,
        grants: &Grants,
    ) -> Result<(), StoreError> {
        self.replace_grants(member, grants).await?;
        sqlx::query("UPDATE members SET revision = revision + 1 WHERE id = $1")
            .bind(member.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Deletes a source from all grants that list it.
    pub(crate) async fn delete_resource_grants(&mut self, source: &SourceId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM grants WHERE resource = $1")
            .bind(source.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Deletes a member with its grants, API tokens and invitation.
    pub(crate) async fn delete_member(&mut self, id: &MemberId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM members WHERE id = $1")
            .bind(id.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    pub(crate) async fn insert_invitation(
        &mut self,
        member: &MemberId,
        hash: &str,
        expires_at: UnixSeconds,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO invitations (member, hash, expires_at) VALUES ($1, $2, $3)")
            .bind(member.as_str())
            .bind(hash)
            .bind(seconds(expires_at))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Marks an invited member as joined, and deletes the invitation.
    pub(crate) async fn join(&mut self, member: &MemberId, at: UnixSeconds) -> Result<(), StoreError> {
        sqlx::query("UPDATE members SET joined_at = $2, revision = revision + 1 WHERE id = $1")
            .bind(member.as_str())
            .bind(seconds(at))
            .execute(self.connection())
            .await?;
        sqlx::query("DELETE FROM invitations WHERE member = $1")
            .bind(member.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
