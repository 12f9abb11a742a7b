//! Who may come in: members of workspaces and their API tokens.

use sqlx::FromRow;

use super::directory::{Page, Workspace};
use super::{ReadTx, Store, StoreError, WriteTx, moment, seconds};
use crate::domain::ids::{AccountId, MemberId, WorkspaceId};
use crate::domain::name::Name;
use crate::domain::time::UnixSeconds;

/// The role that is a workspace's owner.
pub const WORKSPACE_OWNER: &str = "workspace_owner";

/// A person's membership of one workspace.
#[derive(Clone, Debug)]
pub struct Member {
    pub id: MemberId,
    pub workspace: WorkspaceId,
    /// The person, in whichever workspace.
    pub account: AccountId,
    pub email: String,
    pub role: String,
    pub created_at: UnixSeconds,
}

/// An API token as the store knows it: by its hash.
#[derive(Debug)]
pub struct ApiTokenRecord {
    pub id: String,
    pub member: MemberId,
    pub name: Name,
    pub hash: String,
    /// The first characters, by which people tell their tokens apart.
    pub prefix: String,
    pub created_at: UnixSeconds,
    pub expires_at: Option<UnixSeconds>,
}

#[derive(FromRow)]
struct MemberRow {
    id: String,
    workspace: String,
    account: String,
    email: String,
    role: String,
    created_at: i64,
}

impl TryFrom<MemberRow> for Member {
    type Error = StoreError;

    fn try_from(row: MemberRow) -> Result<Self, StoreError> {
        let damaged = || StoreError::Damaged("members");
        Ok(Self {
            id: MemberId::parse(&row.id).map_err(|_| damaged())?,
            workspace: WorkspaceId::parse(&row.workspace).map_err(|_| damaged())?,
            account: AccountId::parse(&row.account).map_err(|_| damaged())?,
            email: row.email,
            role: row.role,
            created_at: moment(row.created_at, "members")?,
        })
    }
}

impl Store {
    /// The token's id and the member it speaks for, if it has not expired at `now`.
    pub(crate) async fn api_token(
        &self,
        hash: &str,
        now: UnixSeconds,
    ) -> Result<Option<(String, Member)>, StoreError> {
        #[derive(FromRow)]
        struct Row {
            token: String,
            #[sqlx(flatten)]
            member: MemberRow,
        }
        let row: Option<Row> = sqlx::query_as(
            "SELECT t.id AS token, m.id, m.workspace, m.account, m.email, m.role, m.created_at \
             FROM api_tokens t JOIN members m ON m.id = t.member \
             WHERE t.hash = $1 AND (t.expires_at IS NULL OR t.expires_at > $2)",
        )
        .bind(hash)
        .bind(seconds(now))
        .fetch_optional(&self.readers)
        .await?;
        row.map(|row| Ok((row.token, Member::try_from(row.member)?)))
            .transpose()
    }

    /// The person's membership of a workspace.
    pub(crate) async fn membership(
        &self,
        workspace: &WorkspaceId,
        account: &AccountId,
    ) -> Result<Option<Member>, StoreError> {
        sqlx::query_as::<_, MemberRow>(
            "SELECT id, workspace, account, email, role, created_at FROM members \
             WHERE workspace = $1 AND account = $2",
        )
        .bind(workspace.as_str())
        .bind(account.as_str())
        .fetch_optional(&self.readers)
        .await?
        .map(Member::try_from)
        .transpose()
    }
}

impl ReadTx {
    /// The workspaces that the person is a member of.
    pub(crate) async fn workspaces_of(
        &mut self,
        account: &AccountId,
        page: Page<'_>,
    ) -> Result<Vec<Workspace>, StoreError> {
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT workspace FROM members WHERE account = $1 AND workspace > $2 ORDER BY workspace LIMIT $3",
        )
        .bind(account.as_str())
        .bind(page.after)
        .bind(i64::from(page.limit))
        .fetch_all(self.connection())
        .await?;
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            let id = WorkspaceId::parse(&id).map_err(|_| StoreError::Damaged("members"))?;
            found.extend(self.workspace(&id).await?);
        }
        Ok(found)
    }

    /// Whether the workspace has a member with this e-mail address.
    pub(crate) async fn has_member(
        &mut self,
        workspace: &WorkspaceId,
        email: &str,
    ) -> Result<bool, StoreError> {
        let found: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM members WHERE workspace = $1 AND email = $2")
                .bind(workspace.as_str())
                .bind(email)
                .fetch_optional(self.connection())
                .await?;
        Ok(found.is_some())
    }

    pub(crate) async fn member_exists(&mut self, id: &MemberId) -> Result<bool, StoreError> {
        let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM members WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(self.connection())
            .await?;
        Ok(found.is_some())
    }
}

impl WriteTx {
    pub(crate) async fn insert_member(&mut self, member: &Member) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO members (id, workspace, account, email, role, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(member.id.as_str())
        .bind(member.workspace.as_str())
        .bind(member.account.as_str())
        .bind(member.email.as_str())
        .bind(member.role.as_str())
        .bind(seconds(member.created_at))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    pub(crate) async fn set_password_hash(
        &mut self,
        member: &MemberId,
        hash: &str,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE members SET password_hash = $1 WHERE id = $2")
            .bind(hash)
            .bind(member.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    pub(crate) async fn insert_api_token(&mut self, token: &ApiTokenRecord) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO api_tokens (id, member, name, hash, prefix, created_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(token.id.as_str())
        .bind(token.member.as_str())
        .bind(token.name.as_str())
        .bind(token.hash.as_str())
        .bind(token.prefix.as_str())
        .bind(seconds(token.created_at))
        .bind(token.expires_at.map(seconds))
        .execute(self.connection())
        .await?;
        Ok(())
    }
}
