//! Whom an outside provider knows a person as.

use super::database::{ReadTx, WriteTx};
use super::error::StoreError;
use crate::domain::ids::AccountId;

impl ReadTx {
    /// The person whom a provider knows by this subject.
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
            .map(|id| AccountId::parse(&id).map_err(|_| StoreError::Damaged("identities")))
            .transpose()
    }

    /// Whether the person is known to this provider by another subject.
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
    /// Lets a provider's subject open the person's account.
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
