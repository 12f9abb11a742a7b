//! Idempotency: an `Idempotency-Key` makes a repeated request create one resource.
//!
//! The id of the created resource is remembered, not the response: a repeated request reads it anew, with the
//! permissions of that time, and no secret that was shown once is stored.

use super::actor::{Actor, IdempotencyKey};
use super::changes::Changes;
use super::conflict::Conflict;
use super::error::ControlError;
use crate::store::WriteTx;
use crate::store::idempotency::IdempotencyRecord;

/// How long a key is remembered, in seconds: a day.
const REMEMBERED_S: u64 = 86_400;

/// Keys remembered for one member.
const KEYS_MAX: u64 = 10_000;

impl Changes {
    /// The id of what an earlier request with the same key created, if there was one.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] for a key that was sent with another body.
    pub(crate) async fn created_before(&self, key: &IdempotencyKey) -> Result<Option<String>, ControlError> {
        let mut tx = self.store.read().await?;
        match tx.idempotency_key(&key.digest, self.watch.passed()).await? {
            None => Ok(None),
            Some((body_digest, made)) if body_digest == key.body_digest => Ok(Some(made)),
            Some(_) => Err(ControlError::invalid(
                "Idempotency-Key",
                "this key was sent with another body; use a new key for a new request",
            )),
        }
    }

    /// Remembers what a request creates, in the same transaction.
    pub(crate) async fn remember_created(
        &self,
        tx: &mut WriteTx,
        actor: &Actor,
        made: &str,
    ) -> Result<(), ControlError> {
        let (Some(key), Some(member)) = (&actor.idempotency_key, actor.as_member()) else {
            return Ok(());
        };
        let now = self.now();
        if tx.idempotency_keys_of(&member.id).await? >= KEYS_MAX {
            return Err(Conflict::RetryKeys.into());
        }
        let row = IdempotencyRecord {
            digest: &key.digest,
            member: &member.id,
            body_digest: &key.body_digest,
            resource_id: made,
            expires_at: self.watch.end_of_row(now.plus(REMEMBERED_S)),
        };
        // With a clock ahead of time, a retry must not create a second resource.
        if tx.insert_idempotency_key(&row, self.watch.passed()).await? {
            Ok(())
        } else {
            Err(Conflict::RetriedMeanwhile.into())
        }
    }
}
