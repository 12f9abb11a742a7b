//! Identities: which account belongs to a subject of an OpenID provider.

use super::database::{ReadTx, WriteTx};
use super::error::StoreError;
use crate::domain::ids::AccountId;

impl ReadTx {
    /// The account of a provider's subject.
    pub(crate) async fn account_of_identity(
        &mut self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<AccountId>, StoreError> {
        let found: Option<String> =
            sqlx::query_scalar("SELECT account FROM identities WHERE issuer = $1 AND subject = $2")
                .bind(issuer)
                .bind(subject)
                .fetch_optional(self.connection())
                .await?;
        found
            .map(|id| AccountId::parse(&id).map_err(|_| StoreError::Corrupted("identities")))
            .transpose()
    }

    /// Whether the account has another subject at this provider.
    pub(crate) async fn has_identity(
        &mut self,
        issuer: &str,
        account: &AccountId,
    ) -> Result<bool, StoreError> {
        let found: Option<String> =
            sqlx::query_scalar("SELECT subject FROM identities WHERE issuer = $1 AND account = $2")
                .bind(issuer)
                .bind(account.as_str())
                .fetch_optional(self.connection())
                .await?;
        Ok(found.is_some())
    }
}

impl WriteTx {
    /// Links a provider's subject to an account.
    pub(crate) async fn insert_identity(
        &mut self,
        issuer: &str,
        subject: &str,
        account: &AccountId,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO identities (issuer, subject, account) VALUES ($1, $2, $3)")
            .bind(issuer)
            .bind(subject)
            .bind(account.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
