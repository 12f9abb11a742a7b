//! Rotation of the signing keys: makes and publishes the next key before it signs, drops old keys after their last token
//! expired, and, in an emergency, revokes a key with all its tokens.

use crate::control::changes::{ChangeTx, Changes};
use crate::control::usage::Usage;
use crate::domain::issue::IssuerIdentity;
use crate::store::Store;
use arc_swap::ArcSwap;
use std::sync::Arc;

use serde_json::json;

use super::key_ring::{KeyRing, issuer_record, record, signing_key_added};
use super::signing_key::SigningKey;
use crate::config::Signing;
use crate::control::actor::Actor;
use crate::control::audit_event::{AuditAction, Event};
use crate::control::conflict::Conflict;
use crate::control::error::ControlError;
use crate::domain::ids::KeyId;
use crate::domain::role::Action;
use crate::domain::time::{TokenLifetime, UnixSeconds};
use crate::snapshot::{Change, OWN_LEEWAY_S};
use crate::store::ReadTx;
use crate::store::signing_keys::SigningKeyRecord;

const KEYS_REVOKED: &str = "signing keys revoked with all their tokens";
const KEY_PUBLISHED: &str = "next signing key published";

/// Keys stored at once. Each may still verify tokens, and a gateway reads 64 keys of one issuer.
const KEYS_MAX: usize = 16;

/// How long a key is kept after its last token expired, in seconds: a process without a connection to the store may have
/// signed with it for longer than planned.
const KEPT_LONGER_S: u64 = 3_600;

/// The author of scheduled rotations.
static SCHEDULE: Actor = Actor::system("rotation");

/// Which keys to revoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndKeys {
    /// The key that signs now.
    Active,
    /// This key, in any state.
    One(KeyId),
    /// All keys.
    All,
}

/// The state of a signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, and not yet signing.
    Next,
    Active,
    /// Published until its last token has expired.
    Retired,
}

/// A signing key as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKeyStatus {
    pub id: KeyId,
    pub algorithm: &'static str,
    pub state: KeyState,
    pub created_at: UnixSeconds,
    pub signs_from: UnixSeconds,
    pub signs_until: Option<UnixSeconds>,
    pub ends_at: Option<UnixSeconds>,
    /// Whether the private key is encrypted in the store.
    pub encrypted: bool,
    /// Tokens signed with the key that may still be accepted, in every workspace: `None` for an actor that does not own
    /// all of them. Tokens revoked one by one are counted too, so the number may be a little high, never low.
    pub live_tokens: Option<u64>,
}

/// The records in the order in which they sign, with the state of each.
struct Schedule {
    records: Vec<SigningKeyRecord>,
    now: UnixSeconds,
}

impl Schedule {
    fn state(&self, at: usize) -> KeyState {
        let signing = self
            .records
            .iter()
            .rposition(|record| record.signs_from <= self.now);
        match signing.unwrap_or(0).cmp(&at) {
            std::cmp::Ordering::Less => KeyState::Next,
            std::cmp::Ordering::Equal => KeyState::Active,
            std::cmp::Ordering::Greater => KeyState::Retired,
        }
    }

    fn find(&self, state: KeyState) -> Option<&SigningKeyRecord> {
        let mut found = self.records.iter().enumerate();
        found
            .find(|(at, _)| self.state(*at) == state)
            .map(|(_, record)| record)
    }

    /// When the next key will sign, if it is time to make it.
    fn due(&self, settings: &Signing) -> Option<UnixSeconds> {
        let active = self.find(KeyState::Active)?;
        let planned = active.signs_from.plus(settings.rotate_every_s);
        let is_time = self.now.plus(settings.publish_ahead_s) >= planned;
        let wanted = is_time && self.find(KeyState::Next).is_none();
        wanted.then(|| planned.max(self.now.plus(settings.publish_ahead_s)))
    }

    /// Adds a record. Answers the records that change with it.
    fn add(&mut self, record: SigningKeyRecord) -> Vec<SigningKeyRecord> {
        self.records.push(record);
        self.settle()
    }

    /// Derives from the start of each key when its predecessor stops signing and ends. Answers the records that changed.
    fn settle(&mut self) -> Vec<SigningKeyRecord> {
        let begin: Vec<UnixSeconds> = self.records.iter().map(|record| record.signs_from).collect();
        let mut changed = Vec::new();
        for (at, record) in self.records.iter_mut().enumerate() {
            let until = begin.get(at + 1).copied();
            // A key that stopped signing never signs again, even where its successor was revoked.
            let has_stopped = record.signs_until.is_some_and(|until| until <= self.now);
            if has_stopped || record.signs_until == until {
                continue;
            }
            let last_token = TokenLifetime::ThirtyDays.seconds() + OWN_LEEWAY_S + KEPT_LONGER_S;
            record.signs_until = until;
            record.ends_at = until.map(|until| until.plus(last_token));
            changed.push(record.clone());
        }
        changed
    }

    /// Removes keys. Answers their records.
    fn end(&mut self, which: &EndKeys) -> Vec<SigningKeyRecord> {
        let active = self.find(KeyState::Active).map(|record| record.id.clone());
        let is_meant = |record: &SigningKeyRecord| match which {
            EndKeys::Active => Some(&record.id) == active.as_ref(),
            EndKeys::One(id) => record.id == *id,
            EndKeys::All => true,
        };
        let (ended, kept) = std::mem::take(&mut self.records).into_iter().partition(is_meant);
        self.records = kept;
        ended
    }

    /// Whether any key signs now.
    fn has_signer(&self) -> bool {
        self.records.iter().any(|record| {
            record.signs_from <= self.now && record.signs_until.is_none_or(|until| self.now < until)
        })
    }

    fn status(&self, live: Option<&[(String, u64)]>) -> Vec<SigningKeyStatus> {
        let live_of = |id: &KeyId| {
            let mut counts = live?.iter();
            let found = counts.find(|(key, _)| key == id.as_str());
            Some(found.map_or(0, |(_, count)| *count))
        };
        let records = self.records.iter().enumerate();
        records
            .map(|(at, record)| SigningKeyStatus {
                id: record.id.clone(),
                algorithm: record.algorithm.as_str(),
                state: self.state(at),
                created_at: record.created_at,
                live_tokens: live_of(&record.id),
                signs_from: record.signs_from,
                signs_until: record.signs_until,
                ends_at: record.ends_at,
                encrypted: record.sealed_with.is_some(),
            })
            .collect()
    }
}

/// Makes a key pair on a blocking thread: RSA takes a while.
async fn generate(settings: &Signing) -> Result<SigningKey, ControlError> {
    let algorithm = settings.algorithm;
    let made = tokio::task::spawn_blocking(move || SigningKey::generate(algorithm)).await;
    made.map_err(|_| ControlError::Crypto("making a signing key"))?
}

/// Rotation and revocation of signing keys.
pub struct SigningKeys {
    pub(crate) identity: Arc<IssuerIdentity>,
    pub(crate) keys: Arc<ArcSwap<KeyRing>>,
    pub(crate) keys_turn: tokio::sync::Mutex<()>,
    pub(crate) signing: Arc<Signing>,
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) usage: Arc<Usage>,
}

impl SigningKeys {
    /// How long before its first signature a key is published, in seconds.
    pub(crate) fn publish_ahead_s(&self) -> u64 {
        self.signing.publish_ahead_s
    }

    /// Reads changes of other processes, makes the next key when it is time, and drops keys whose last token has expired.
    ///
    /// # Errors
    /// [`ControlError::Store`], or [`ControlError::Keys`] where a key in the store cannot be read; the keys in
    /// use stay.
    pub async fn keep(&self) -> Result<(), ControlError> {
        let now = self.changes.now();
        let look = self.changes.watch.look(None);
        let records = self.reload_keys().await?;
        if records
            .iter()
            .any(|record| has_ended(record, look.ended_before()))
        {
            self.drop_ended_keys(look.ended_before()).await?;
        }
        let schedule = Schedule { records, now };
        // With a clock ahead of time, the next key would begin to sign in the far future.
        if look.state.warning().is_none() && schedule.due(&self.signing).is_some() {
            self.add_signing_key(&SCHEDULE, Schedule::due).await?;
        }
        Ok(())
    }

    /// Makes the next key if the newest one has another algorithm than the config. Only at the start: two processes with
    /// different configs would alternate otherwise.
    pub(crate) async fn follow_configured_algorithm(&self) -> Result<(), ControlError> {
        let algorithm = self.signing.algorithm;
        let records = self.store.read().await?.signing_keys().await?;
        if records.last().is_none_or(|newest| newest.algorithm == algorithm) {
            return Ok(());
        }
        let when = |schedule: &Schedule, settings: &Signing| {
            let other = schedule
                .records
                .last()
                .is_some_and(|newest| newest.algorithm != settings.algorithm);
            let newest = schedule.records.last().map(|newest| newest.signs_from);
            let ahead = schedule.now.plus(settings.publish_ahead_s);
            other.then(|| newest.map_or(ahead, |newest| ahead.max(newest.plus(1))))
        };
        self.add_signing_key(&SCHEDULE, when).await?;
        Ok(())
    }

    /// Makes the next signing key: it is published now, and signs once every cached key set without it has expired. Where
    /// there is a next key already, nothing changes. Answers all keys.
    ///
    /// # Errors
    /// [`Conflict::SigningKeys`] when too many old keys still verify, [`ControlError::NotOwnerOfAll`].
    pub async fn rotate(&self, actor: &Actor) -> Result<Vec<SigningKeyStatus>, ControlError> {
        // Checked before the costly key pair is made, and again in the transaction.
        require_key_manager(&mut self.store.read().await?, actor).await?;
        let when = |schedule: &Schedule, settings: &Signing| {
            let none = schedule.find(KeyState::Next).is_none();
            none.then(|| schedule.now.plus(settings.publish_ahead_s))
        };
        self.add_signing_key(actor, when).await?;
        self.list(actor).await
    }

    /// Every signing key, in the order in which they sign. For owners of a workspace.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`] or [`ControlError::Store`].
    pub async fn list(&self, actor: &Actor) -> Result<Vec<SigningKeyStatus>, ControlError> {
        match actor.as_member() {
            Some(member) => actor.require(&member.workspace, Action::EditWorkspace)?,
            None => actor.require_system()?,
        }
        // Tokens of the last seconds are counted in memory.
        self.usage.flush_uses().await;
        let now = self.changes.now();
        let mut tx = self.store.read().await?;
        let live = if may_manage_keys(&mut tx, actor).await? {
            Some(tx.live_tokens_by_signing_key(now).await?)
        } else {
            None
        };
        let records = tx.signing_keys().await?;
        Ok(Schedule { records, now }.status(live.as_deref()))
    }

    /// Whether the actor may rotate and revoke signing keys.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub async fn can_manage(&self, actor: &Actor) -> Result<bool, ControlError> {
        may_manage_keys(&mut self.store.read().await?, actor).await
    }

    /// Revokes signing keys, and with them every token they signed. If no key is left that signs, the next one signs from
    /// now on, or a new one. Answers the ids of the revoked keys.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] where there is no such key, [`ControlError::NotOwnerOfAll`].
    pub async fn end(&self, actor: &Actor, which: &EndKeys) -> Result<Vec<KeyId>, ControlError> {
        require_key_manager(&mut self.store.read().await?, actor).await?;
        // Made before the transaction begins, and dropped where it is not needed.
        let fresh = generate(&self.signing).await?;
        let mut tx = self.changes.begin(actor).await?;
        require_key_manager(&mut tx, actor).await?;
        let now = self.changes.now();
        let records = tx.signing_keys().await?;
        let mut schedule = Schedule { records, now };
        let ended = schedule.end(which);
        if ended.is_empty() {
            return Err(ControlError::NotFound("signing key"));
        }
        for record in &ended {
            tx.delete_signing_key(&record.id).await?;
        }
        if !schedule.has_signer() {
            match schedule.records.iter_mut().find(|record| record.signs_from > now) {
                Some(next) => {
                    next.signs_from = now;
                    tx.update_signing_key(next).await?;
                }
                None => {
                    let record = record(&fresh, &self.signing, now, now)?;
                    tx.insert_signing_key(&record).await?;
                    schedule.records.push(record);
                }
            }
        }
        for record in schedule.settle() {
            tx.update_signing_key(&record).await?;
        }
        let active = schedule.find(KeyState::Active).map(|record| record.id.clone());
        let ids: Vec<KeyId> = ended.into_iter().map(|record| record.id).collect();
        let named: Vec<&str> = ids.iter().map(KeyId::as_str).collect();
        let event = Event::of_server(
            AuditAction::SigningKeyEnded,
            "signing_key",
            &named.first().copied().unwrap_or_default(),
            &"",
        )
        .removed(json!({ "ids": named }))
        .made(json!({ "active": active.as_ref().map(KeyId::as_str) }));
        self.put_keys(tx, actor, &schedule, event).await?;
        tracing::warn!(keys = ?ids, "{KEYS_REVOKED}");
        Ok(ids)
    }

    /// Adds a key that signs from the time that `when` answers inside the transaction, if it answers one.
    async fn add_signing_key(
        &self,
        actor: &Actor,
        when: impl Fn(&Schedule, &Signing) -> Option<UnixSeconds>,
    ) -> Result<(), ControlError> {
        let key = generate(&self.signing).await?;
        let mut tx = self.changes.begin(actor).await?;
        require_key_manager(&mut tx, actor).await?;
        let now = self.changes.now();
        let records = tx.signing_keys().await?;
        let mut schedule = Schedule { records, now };
        let Some(signs_from) = when(&schedule, &self.signing) else {
            return Ok(());
        };
        if schedule.records.len() >= KEYS_MAX {
            return Err(Conflict::SigningKeys.into());
        }
        let record = record(&key, &self.signing, now, signs_from)?;
        tx.insert_signing_key(&record).await?;
        let event = signing_key_added(&record);
        let id = record.id.clone();
        for record in schedule.add(record) {
            tx.update_signing_key(&record).await?;
        }
        self.put_keys(tx, actor, &schedule, event).await?;
        tracing::info!(key = %id, signs_from = signs_from.0, "{KEY_PUBLISHED}");
        Ok(())
    }

    async fn drop_ended_keys(&self, ended_before: UnixSeconds) -> Result<(), ControlError> {
        let mut tx = self.changes.begin(&SCHEDULE).await?;
        let now = self.changes.now();
        let (ended, records): (Vec<_>, Vec<_>) = tx
            .signing_keys()
            .await?
            .into_iter()
            .partition(|record| has_ended(record, ended_before));
        let ids: Vec<&str> = ended.iter().map(|record| record.id.as_str()).collect();
        let Some(first) = ids.first() else { return Ok(()) };
        for record in &ended {
            tx.delete_signing_key(&record.id).await?;
        }
        let event = Event::of_server(AuditAction::SigningKeyDropped, "signing_key", first, &"")
            .removed(json!({ "ids": ids }));
        self.put_keys(tx, &SCHEDULE, &Schedule { records, now }, event)
            .await
    }

    /// Commits a change of the keys. Gateways receive it before this process signs with a new key.
    async fn put_keys(
        &self,
        tx: ChangeTx,
        _actor: &Actor,
        schedule: &Schedule,
        event: Event,
    ) -> Result<(), ControlError> {
        let issuer = issuer_record(
            &schedule.records,
            self.identity.issuer.as_str(),
            &self.identity.audience,
        )?;
        let in_force = self.changes.commit(tx, &[Change::PutIssuer(issuer)], event).await;
        self.reload_keys().await?;
        in_force
    }

    /// Reads the keys from the store.
    async fn reload_keys(&self) -> Result<Vec<SigningKeyRecord>, ControlError> {
        // One at a time, so that an earlier read never replaces a later one.
        let _turn = self.keys_turn.lock().await;
        let records = self.store.read().await?.signing_keys().await?;
        let held = self.keys.load();
        if !held.is_as_in(&records) {
            self.keys
                .store(Arc::new(KeyRing::of(&records, &self.signing, Some(&held))?));
        }
        Ok(records)
    }
}

/// Rejects an actor that may not rotate or revoke signing keys. The keys sign for every workspace, so a member must own
/// all of them.
async fn require_key_manager(tx: &mut ReadTx, actor: &Actor) -> Result<(), ControlError> {
    let Some(member) = actor.as_member() else {
        return actor.require_system();
    };
    actor.require(&member.workspace, Action::EditWorkspace)?;
    // An API token is for one workspace, and these keys are for all.
    actor.require_session()?;
    if tx.owns_every_workspace(&member.account).await? {
        Ok(())
    } else {
        Err(ControlError::NotOwnerOfAll)
    }
}

async fn may_manage_keys(tx: &mut ReadTx, actor: &Actor) -> Result<bool, ControlError> {
    match require_key_manager(tx, actor).await {
        Ok(()) => Ok(true),
        Err(
            ControlError::NotOwnerOfAll
            | ControlError::OperatorOnly
            | ControlError::SessionRequired
            | ControlError::Forbidden(_),
        ) => Ok(false),
        Err(error) => Err(error),
    }
}

fn has_ended(record: &SigningKeyRecord, ended_before: UnixSeconds) -> bool {
    record.ends_at.is_some_and(|end| end <= ended_before)
}
