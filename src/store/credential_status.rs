//! Whether the credential of a request is still valid, read in the transaction of the change.

use super::database::ReadTx;
use super::error::StoreError;
use super::rows::{number, seconds};
use crate::domain::ids::MemberId;
use crate::domain::time::UnixSeconds;
use crate::model::credential::Credential;

impl ReadTx {
    /// The revision of a joined membership, if the credential is still valid at `now`: an API token of this
    /// membership, or a session of its account.
    pub(crate) async fn credential_status(
        &mut self,
        member: &MemberId,
        credential: &Credential,
        now: UnixSeconds,
    ) -> Result<Option<u64>, StoreError> {
        let (text, id) = match credential {
            Credential::ApiToken(id) => (
                "SELECT m.revision FROM members m WHERE m.id = $1 AND m.joined_at IS NOT NULL AND EXISTS \
                 (SELECT t.id FROM api_tokens t \
                 WHERE t.id = $2 AND t.member = m.id AND (t.expires_at IS NULL OR t.expires_at > $3))",
                id,
            ),
            Credential::Session(id) => (
                "SELECT m.revision FROM members m WHERE m.id = $1 AND m.joined_at IS NOT NULL AND EXISTS \
                 (SELECT s.id FROM sessions s \
                 WHERE s.id = $2 AND s.account = m.account AND s.expires_at > $3)",
                id,
            ),
        };
        let revision: Option<i64> = sqlx::query_scalar(text)
            .bind(member.as_str())
            .bind(id.as_str())
            .bind(seconds(now))
            .fetch_optional(self.connection())
            .await?;
        revision.map(|revision| number(revision, "members")).transpose()
    }
}
