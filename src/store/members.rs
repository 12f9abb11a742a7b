//! Who may come in: people, their memberships of workspaces with what they were granted, and API tokens.

use sqlx::FromRow;

use super::directory::{Page, Workspace};
use super::{ReadTx, StoreError, WriteTx, moment, number, seconds};
use crate::domain::ids::{AccountId, MemberId, SourceId, WorkspaceId};
use crate::domain::name::Name;
use crate::domain::role::{Assigned, Grant, Grants, Role};
use crate::domain::time::UnixSeconds;

/// `resource` of a grant for everything that its role reaches.
const ALL: &str = "*";

/// A person.
#[derive(Clone, Debug)]
pub struct Account {
    pub id: AccountId,
    /// Normalised.
    pub email: String,
    pub created_at: UnixSeconds,
}

/// A person's membership of one workspace.
#[derive(Clone, Debug)]
pub struct Member {
    pub id: MemberId,
    pub workspace: WorkspaceId,
    /// The person, in whichever workspace.
    pub account: AccountId,
    pub email: String,
    pub grants: Grants,
    /// Rises with every change of the membership.
    pub revision: u64,
    pub created_at: UnixSeconds,
    /// When the person took the invitation up. Before that, the membership opens nothing.
    pub joined_at: Option<UnixSeconds>,
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
    revision: i64,
    created_at: i64,
    joined_at: Option<i64>,
}

impl MemberRow {
    fn with(self, grants: Grants) -> Result<Member, StoreError> {
        let damaged = || StoreError::Damaged("members");
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
    /// The token's id and the member it speaks for, if it has not expired at `now`.
    pub(crate) async fn api_token(
        &mut self,
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
            "SELECT t.id AS token, m.id, m.workspace, m.account, a.email, m.revision, m.created_at, m.joined_at \
             FROM api_tokens t JOIN members m ON m.id = t.member JOIN accounts a ON a.id = m.account \
             WHERE t.hash = $1 AND (t.expires_at IS NULL OR t.expires_at > $2) AND m.joined_at IS NOT NULL",
        )
        .bind(hash)
        .bind(seconds(now))
        .fetch_optional(self.connection())
        .await?;
        match row {
            None => Ok(None),
            Some(row) => Ok(Some((row.token, self.with_grants(row.member).await?))),
        }
    }

    /// The person's membership of a workspace, once they have joined it.
    pub(crate) async fn membership(
        &mut self,
        workspace: &WorkspaceId,
        account: &AccountId,
    ) -> Result<Option<Member>, StoreError> {
        let row: Option<MemberRow> = sqlx::query_as(
            "SELECT m.id, m.workspace, m.account, a.email, m.revision, m.created_at, m.joined_at \
             FROM members m JOIN accounts a ON a.id = m.account \
             WHERE m.workspace = $1 AND m.account = $2 AND m.joined_at IS NOT NULL",
        )
        .bind(workspace.as_str())
        .bind(account.as_str())
        .fetch_optional(self.connection())
        .await?;
        self.with_grants_if_any(row).await
    }

    async fn with_grants_if_any(&mut self, row: Option<MemberRow>) -> Result<Option<Member>, StoreError> {
        match row {
            None => Ok(None),
            Some(row) => Ok(Some(self.with_grants(row).await?)),
        }
    }

    async fn with_grants(&mut self, row: MemberRow) -> Result<Member, StoreError> {
        let grants: Vec<(String, String)> =
            sqlx::query_as("SELECT role, resource FROM grants WHERE member = $1 ORDER BY role, resource")
                .bind(row.id.as_str())
                .fetch_all(self.connection())
                .await?;
        row.with(grants_of(&grants)?)
    }

    /// The workspaces that the person has joined.
    pub(crate) async fn workspaces_of(
        &mut self,
        account: &AccountId,
        page: Page<'_>,
    ) -> Result<Vec<Workspace>, StoreError> {
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT workspace FROM members WHERE account = $1 AND workspace > $2 AND joined_at IS NOT NULL \
             ORDER BY workspace LIMIT $3",
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

    /// The person with this address, which is normalised.
    pub(crate) async fn account_with_email(&mut self, email: &str) -> Result<Option<Account>, StoreError> {
        let row: Option<(String, i64)> =
            sqlx::query_as("SELECT id, created_at FROM accounts WHERE email = $1")
                .bind(email)
                .fetch_optional(self.connection())
                .await?;
        row.map(|(id, created_at)| {
            Ok(Account {
                id: AccountId::parse(&id).map_err(|_| StoreError::Damaged("accounts"))?,
                email: email.to_owned(),
                created_at: moment(created_at, "accounts")?,
            })
        })
        .transpose()
    }

    /// Whether the person is a member of the workspace, joined or only invited.
    pub(crate) async fn has_member(
        &mut self,
        workspace: &WorkspaceId,
        account: &AccountId,
    ) -> Result<bool, StoreError> {
        let found: Option<i64> =
            sqlx::query_scalar("SELECT created_at FROM members WHERE workspace = $1 AND account = $2")
                .bind(workspace.as_str())
                .bind(account.as_str())
                .fetch_optional(self.connection())
                .await?;
        Ok(found.is_some())
    }

    /// The workspace of a member, wherever it is.
    pub(crate) async fn workspace_of(&mut self, id: &MemberId) -> Result<Option<WorkspaceId>, StoreError> {
        let found: Option<String> = sqlx::query_scalar("SELECT workspace FROM members WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(self.connection())
            .await?;
        found
            .map(|id| WorkspaceId::parse(&id).map_err(|_| StoreError::Damaged("members")))
            .transpose()
    }
}

/// Rows of one member, ordered by role, into what they grant.
fn grants_of(rows: &[(String, String)]) -> Result<Grants, StoreError> {
    let damaged = || StoreError::Damaged("grants");
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
    pub(crate) async fn insert_account(&mut self, account: &Account) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO accounts (id, email, created_at) VALUES ($1, $2, $3)")
            .bind(account.id.as_str())
            .bind(account.email.as_str())
            .bind(seconds(account.created_at))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Adds a member with what they are granted. Their account is there already.
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
        self.put_grants(&member.id, &member.grants).await
    }

    /// Replaces what a member is granted.
    pub(crate) async fn put_grants(&mut self, member: &MemberId, grants: &Grants) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM grants WHERE member = $1")
            .bind(member.as_str())
            .execute(self.connection())
            .await?;
        for grant in grants.iter() {
            let resources: Vec<&str> = match &grant.resources {
                Assigned::All => vec![ALL],
                Assigned::Listed(ids) => ids.iter().map(SourceId::as_str).collect(),
            };
            for resource in resources {
                sqlx::query(
                    "INSERT INTO grants (member, role, resource) VALUES ($1, $2, $3) \
                     ON CONFLICT (member, role, resource) DO NOTHING",
                )
                .bind(member.as_str())
                .bind(grant.role.as_str())
                .bind(resource)
                .execute(self.connection())
                .await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn set_password_hash(
        &mut self,
        account: &AccountId,
        hash: &str,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE accounts SET password_hash = $1 WHERE id = $2")
            .bind(hash)
            .bind(account.as_str())
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
