//! Accounts: people and their password hashes.
//!
//! An email address has at most one verified account and any number of unverified ones. An unverified account has one
//! membership and its own password, and is deleted with the membership.

use crate::model::account::Account;
use sqlx::FromRow;

use super::database::{ReadTx, Store, WriteTx};
use super::error::StoreError;
use super::members::{MemberRow, select_members};
use super::rows::{moment, seconds};
use crate::domain::ids::{AccountId, MemberId, WorkspaceId};
use crate::model::member::Member;

/// Characters at the end of a password hash that depend on the password: 32 bytes in base64. The characters before
/// them are its prefix: algorithm, parameters and salt.
pub(crate) const HASH_CHARS: usize = 43;

/// The most prefixes among the passwords of one address. They share one salt, so there is a second prefix only while
/// a password hashed with earlier parameters has not been used again.
pub(crate) const PREFIXES_MAX: usize = 2;

/// The account whose password matches, and the stored hash.
#[derive(Debug)]
pub(crate) struct PasswordMatch {
    pub account: AccountId,
    pub hash: String,
}

/// Which accounts of an address a password may open.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Candidates<'a> {
    /// Only this account, if set.
    pub only: Option<&'a AccountId>,
    /// If the password matches several accounts, prefer the one with a membership in this workspace.
    pub preferred: Option<&'a WorkspaceId>,
}

#[derive(FromRow)]
struct AccountRow {
    id: String,
    email: String,
    created_at: i64,
    verified_at: Option<i64>,
}

impl TryFrom<AccountRow> for Account {
    type Error = StoreError;

    fn try_from(row: AccountRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: account_id(&row.id)?,
            email: row.email,
            created_at: moment(row.created_at, "accounts")?,
            verified_at: row.verified_at.map(|at| moment(at, "accounts")).transpose()?,
        })
    }
}

pub(super) fn account_id(id: &str) -> Result<AccountId, StoreError> {
    AccountId::parse(id).map_err(|_| StoreError::Corrupted("accounts"))
}

/// The first and the last hash of an address in sort order, without those of one account. If there are two prefixes,
/// these two hashes have different ones. Each is one index lookup, however many accounts the address has.
const FIRST_AND_LAST: &str = "SELECT \
     (SELECT password_hash FROM accounts WHERE email = $1 AND id <> $2 AND password_hash IS NOT NULL \
     ORDER BY password_hash LIMIT 1), \
     (SELECT password_hash FROM accounts WHERE email = $1 AND id <> $2 AND password_hash IS NOT NULL \
     ORDER BY password_hash DESC LIMIT 1)";

/// The distinct prefixes of these hashes.
fn prefixes((first, last): (Option<String>, Option<String>)) -> Vec<String> {
    let mut prefixes: Vec<String> = first
        .iter()
        .chain(&last)
        .filter_map(|hash| hash.get(..hash.len().checked_sub(HASH_CHARS)?))
        .map(str::to_owned)
        .collect();
    prefixes.dedup();
    prefixes
}

impl Store {
    /// The prefixes of the password hashes of an address, without those of the account `but`.
    pub(crate) async fn password_prefixes(
        &self,
        email: &str,
        but: Option<&AccountId>,
    ) -> Result<Vec<String>, StoreError> {
        let found = sqlx::query_as(FIRST_AND_LAST)
            .bind(email)
            .bind(but.map(AccountId::as_str).unwrap_or_default())
            .fetch_one(&self.readers)
            .await?;
        Ok(prefixes(found))
    }

    /// The account of the address that has one of these hashes and a joined membership. A verified account comes
    /// first, then the oldest.
    ///
    /// The database compares the hashes. Nobody can choose what a password hashes to, so the time that the comparison
    /// takes reveals nothing. The cost is one index lookup for any number of accounts.
    pub(crate) async fn account_with_password(
        &self,
        email: &str,
        hashes: &[String],
        among: Candidates<'_>,
    ) -> Result<Option<PasswordMatch>, StoreError> {
        // Always the same number of parameters, so that the statement is prepared once.
        let mut hashes = hashes.iter().map(String::as_str).chain(std::iter::repeat(""));
        let mut next = || hashes.next().unwrap_or_default();
        let row: Option<(String, String)> = sqlx::query_as(
            "SELECT a.id, a.password_hash FROM accounts a \
             WHERE a.email = $1 AND a.password_hash IN ($2, $3) AND ($4 = '' OR a.id = $4) \
             AND EXISTS (SELECT m.id FROM members m WHERE m.account = a.id AND m.joined_at IS NOT NULL) \
             ORDER BY CASE WHEN EXISTS (SELECT m.id FROM members m WHERE m.account = a.id AND m.workspace = $5 \
             AND m.joined_at IS NOT NULL) THEN 0 ELSE 1 END, \
             CASE WHEN a.verified_at IS NULL THEN 1 ELSE 0 END, a.created_at, a.id LIMIT 1",
        )
        .bind(email)
        .bind(next())
        .bind(next())
        .bind(among.only.map(AccountId::as_str).unwrap_or_default())
        .bind(among.preferred.map(WorkspaceId::as_str).unwrap_or_default())
        .fetch_optional(&self.readers)
        .await?;
        row.map(|(id, hash)| {
            Ok(PasswordMatch {
                account: account_id(&id)?,
                hash,
            })
        })
        .transpose()
    }

    /// The account that the audit trail names for a rejected sign-in: the verified account of the address, otherwise
    /// any.
    pub(crate) async fn account_for_trail(&self, email: &str) -> Result<Option<AccountId>, StoreError> {
        let found: Option<String> = sqlx::query_scalar(
            "SELECT COALESCE((SELECT a.id FROM accounts a WHERE a.email = $1 AND a.verified_at IS NOT NULL \
             AND EXISTS (SELECT m.id FROM members m WHERE m.account = a.id AND m.joined_at IS NOT NULL)), \
             (SELECT id FROM accounts WHERE email = $1 AND verified_at IS NULL AND password_hash IS NOT NULL LIMIT 1))",
        )
        .bind(email)
        .fetch_one(&self.readers)
        .await?;
        found.map(|id| account_id(&id)).transpose()
    }

    /// Whether the address has another account.
    pub(crate) async fn has_other_account(&self, email: &str, but: &AccountId) -> Result<bool, StoreError> {
        let found: Option<String> =
            sqlx::query_scalar("SELECT id FROM accounts WHERE email = $1 AND id <> $2 LIMIT 1")
                .bind(email)
                .bind(but.as_str())
                .fetch_optional(&self.readers)
                .await?;
        Ok(found.is_some())
    }

    /// Replaces a password hash by another hash of the same password, unless the password has changed since.
    pub(crate) async fn upgrade_password_hash(
        &self,
        account: &AccountId,
        old: &str,
        new: &str,
    ) -> Result<(), StoreError> {
        let _turn = self.ledger_turn().await;
        sqlx::query("UPDATE accounts SET password_hash = $1 WHERE id = $2 AND password_hash = $3")
            .bind(new)
            .bind(account.as_str())
            .bind(old)
            .execute(&self.ledger)
            .await?;
        Ok(())
    }
}

impl ReadTx {
    /// The verified account of this normalised address.
    pub(crate) async fn verified_account(&mut self, email: &str) -> Result<Option<Account>, StoreError> {
        let row: Option<AccountRow> = sqlx::query_as(
            "SELECT id, email, created_at, verified_at FROM accounts \
             WHERE email = $1 AND verified_at IS NOT NULL",
        )
        .bind(email)
        .fetch_optional(self.connection())
        .await?;
        row.map(Account::try_from).transpose()
    }

    /// One account.
    pub(crate) async fn account(&mut self, id: &AccountId) -> Result<Option<Account>, StoreError> {
        let row: Option<AccountRow> =
            sqlx::query_as("SELECT id, email, created_at, verified_at FROM accounts WHERE id = $1")
                .bind(id.as_str())
                .fetch_optional(self.connection())
                .await?;
        row.map(Account::try_from).transpose()
    }

    /// The account's password hash, if it has a password.
    pub(crate) async fn password_hash(&mut self, account: &AccountId) -> Result<Option<String>, StoreError> {
        let found: Option<Option<String>> =
            sqlx::query_scalar("SELECT password_hash FROM accounts WHERE id = $1")
                .bind(account.as_str())
                .fetch_optional(self.connection())
                .await?;
        Ok(found.flatten())
    }

    /// The prefixes of the password hashes of an address, without those of the account `but`.
    pub(crate) async fn other_password_prefixes(
        &mut self,
        email: &str,
        but: &AccountId,
    ) -> Result<Vec<String>, StoreError> {
        let found = sqlx::query_as(FIRST_AND_LAST)
            .bind(email)
            .bind(but.as_str())
            .fetch_one(self.connection())
            .await?;
        Ok(prefixes(found))
    }

    /// Joined memberships of the unverified accounts of an address, oldest first.
    pub(crate) async fn unverified_memberships(
        &mut self,
        email: &str,
        limit: u32,
    ) -> Result<Vec<Member>, StoreError> {
        let rows: Vec<MemberRow> = sqlx::query_as(select_members!(
            "WHERE a.email = $1 AND a.verified_at IS NULL AND m.joined_at IS NOT NULL ORDER BY m.id LIMIT $2"
        ))
        .bind(email)
        .bind(i64::from(limit))
        .fetch_all(self.connection())
        .await?;
        let mut members = Vec::with_capacity(rows.len());
        for row in rows {
            members.push(self.with_grants(row).await?);
        }
        Ok(members)
    }

    /// The joined membership of this workspace that an unverified account of the address has.
    pub(crate) async fn unverified_membership_in(
        &mut self,
        workspace: &WorkspaceId,
        email: &str,
    ) -> Result<Option<Member>, StoreError> {
        let row: Option<MemberRow> = sqlx::query_as(select_members!(
            "WHERE m.workspace = $1 AND a.email = $2 AND a.verified_at IS NULL AND m.joined_at IS NOT NULL"
        ))
        .bind(workspace.as_str())
        .bind(email)
        .fetch_optional(self.connection())
        .await?;
        match row {
            None => Ok(None),
            Some(row) => Ok(Some(self.with_grants(row).await?)),
        }
    }

    /// Whether the workspace has a member with this address, joined or invited.
    pub(crate) async fn has_member(
        &mut self,
        workspace: &WorkspaceId,
        email: &str,
    ) -> Result<bool, StoreError> {
        let found: Option<String> = sqlx::query_scalar(
            "SELECT m.id FROM accounts a JOIN members m ON m.account = a.id \
             WHERE a.email = $1 AND m.workspace = $2 LIMIT 1",
        )
        .bind(email)
        .bind(workspace.as_str())
        .fetch_optional(self.connection())
        .await?;
        Ok(found.is_some())
    }
}

impl WriteTx {
    pub(crate) async fn insert_account(&mut self, account: &Account) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO accounts (id, email, created_at, verified_at) VALUES ($1, $2, $3, $4)")
            .bind(account.id.as_str())
            .bind(account.email.as_str())
            .bind(seconds(account.created_at))
            .bind(account.verified_at.map(seconds))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Moves a membership to another account. The credentials of the former account no longer reach it.
    pub(crate) async fn move_member(&mut self, member: &MemberId, to: &AccountId) -> Result<(), StoreError> {
        sqlx::query("UPDATE members SET account = $1, revision = revision + 1 WHERE id = $2")
            .bind(to.as_str())
            .bind(member.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Deletes an unverified account without memberships, with its sessions and browsers. Does nothing for other
    /// accounts.
    pub(crate) async fn delete_unverified(&mut self, account: &AccountId) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM accounts WHERE id = $1 AND verified_at IS NULL AND NOT EXISTS \
             (SELECT m.id FROM members m WHERE m.account = accounts.id)",
        )
        .bind(account.as_str())
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Sets an account's password hash. Returns whether the account exists.
    pub(crate) async fn set_password_hash(
        &mut self,
        account: &AccountId,
        hash: &str,
    ) -> Result<bool, StoreError> {
        let set = sqlx::query("UPDATE accounts SET password_hash = $1 WHERE id = $2")
            .bind(hash)
            .bind(account.as_str())
            .execute(self.connection())
            .await?;
        Ok(set.rows_affected() == 1)
    }

    /// Replaces an account's password hash `old` by `new`. Returns whether it was still `old`.
    pub(crate) async fn replace_password_hash(
        &mut self,
        account: &AccountId,
        old: &str,
        new: &str,
    ) -> Result<bool, StoreError> {
        let set = sqlx::query("UPDATE accounts SET password_hash = $1 WHERE id = $2 AND password_hash = $3")
            .bind(new)
            .bind(account.as_str())
            .bind(old)
            .execute(self.connection())
            .await?;
        Ok(set.rows_affected() == 1)
    }
}
