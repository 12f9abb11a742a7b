//! Rotation of our signing keys: the next one made and published ahead of its time, the old ones dropped with
//! their last token, and, in an emergency, a key ended with all its tokens at once.

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

/// Keys held at once. A gateway takes 64 of one issuer, and every one of them may still verify.
const KEYS_MAX: usize = 16;

/// How long a key is kept beyond its last token, in seconds: a process that was cut off from the store may have
/// signed with it for a little longer than it should have.
const KEPT_LONGER_S: u64 = 3_600;

/// Who rotates keys when it is time.
static SCHEDULE: Actor = Actor::system("rotation");

/// Which keys an emergency ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndKeys {
    /// The one that signs now.
    Active,
    /// This one, whatever it is for.
    One(KeyId),
    /// All of them.
    All,
}

/// What a signing key is for at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, and not yet signing.
    Next,
    Active,
    /// Published until its last token has expired.
    Retired,
}

/// A signing key as its operator is shown it.
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
    /// Tokens that it signed and that may still be accepted. Those revoked one by one are counted too, so it may
    /// be a few too many, never too few. They are of every workspace: whoever does not own all is not told.
    pub live_tokens: Option<u64>,
}

/// The records in the order in which they sign, with what each is for.
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

    /// From when the next key would sign, where it is time to make one.
    fn due(&self, settings: &Signing) -> Option<UnixSeconds> {
        let active = self.find(KeyState::Active)?;
        let planned = active.signs_from.plus(settings.rotate_every_s);
        let is_time = self.now.plus(settings.publish_ahead_s) >= planned;
        let wanted = is_time && self.find(KeyState::Next).is_none();
        wanted.then(|| planned.max(self.now.plus(settings.publish_ahead_s)))
    }

    /// Adds a record in its place, and says what changes for the others.
    fn add(&mut self, record: SigningKeyRecord) -> Vec<SigningKeyRecord> {
        self.records.push(record);
        self.settle()
    }

    /// When keys stop signing and end follows from when others begin. Answers those for which it is new.
    fn settle(&mut self) -> Vec<SigningKeyRecord> {
        let begin: Vec<UnixSeconds> = self.records.iter().map(|record| record.signs_from).collect();
        let mut changed = Vec::new();
        for (at, record) in self.records.iter_mut().enumerate() {
            let until = begin.get(at + 1).copied();
            // What has stopped stays so, even where the key that followed it was ended.
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

    /// Ends keys. Answers the records of those.
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

    /// Whether a key is left that signs now.
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

/// A key pair made where it holds up no request: RSA takes a while.
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

    /// Takes over what other processes did to the signing keys, makes the next one when it is time and drops
    /// those whose last token has expired.
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
        // A clock that is ahead for a while would make a key that signs in the far future, and none until then.
        if look.state.warning().is_none() && schedule.due(&self.signing).is_some() {
            self.add_signing_key(&SCHEDULE, Schedule::due).await?;
        }
        Ok(())
    }

    /// Makes the next key where the configured algorithm is not that of the newest one: at a start alone, so
    /// that two processes with different configs do not take turns.
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

    /// Makes the next signing key ahead of its time: it is published now, and signs once no key set without it
    /// is kept by anybody. Where there is a next key already, nothing is made. Answers all the keys.
    ///
    /// # Errors
    /// [`Conflict::SigningKeys`] when too many old keys still verify, [`ControlError::NotOwnerOfAll`].
    pub async fn rotate(&self, actor: &Actor) -> Result<Vec<SigningKeyStatus>, ControlError> {
        // Before a key pair is made for whoever asks; once more in the transaction of the change.
        must_rule_keys(&mut self.store.read().await?, actor).await?;
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
        // What was issued in the last moments is in memory still.
        self.usage.flush_uses().await;
        let now = self.changes.now();
        let mut tx = self.store.read().await?;
        let live = if rules_keys(&mut tx, actor).await? {
            Some(tx.live_tokens_by_signing_key(now).await?)
        } else {
            None
        };
        let records = tx.signing_keys().await?;
        Ok(Schedule { records, now }.status(live.as_deref()))
    }

    /// Whether the actor may rotate and end signing keys.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub async fn can_manage(&self, actor: &Actor) -> Result<bool, ControlError> {
        rules_keys(&mut self.store.read().await?, actor).await
    }

    /// Ends signing keys and so, at once, every token they signed. Where none is left that signs, the next one
    /// begins now, or a new one. Answers the ids of those ended.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] where there is no such key, [`ControlError::NotOwnerOfAll`].
    pub async fn end(&self, actor: &Actor, which: &EndKeys) -> Result<Vec<KeyId>, ControlError> {
        must_rule_keys(&mut self.store.read().await?, actor).await?;
        // Made before the turn to write is taken; thrown away where it is not needed.
        let fresh = generate(&self.signing).await?;
        let mut tx = self.changes.begin(actor).await?;
        must_rule_keys(&mut tx, actor).await?;
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
        tracing::warn!(keys = ?ids, "signing keys were ended with all their tokens");
        Ok(ids)
    }

    /// Adds a key from the moment that `when` says, if it says one once nobody else can change the keys.
    async fn add_signing_key(
        &self,
        actor: &Actor,
        when: impl Fn(&Schedule, &Signing) -> Option<UnixSeconds>,
    ) -> Result<(), ControlError> {
        let key = generate(&self.signing).await?;
        let mut tx = self.changes.begin(actor).await?;
        must_rule_keys(&mut tx, actor).await?;
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
        tracing::info!(key = %id, signs_from = signs_from.0, "the next signing key is published");
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

    /// Makes a change of the keys durable and known, to gateways first: when this process signs with a key, they
    /// have it.
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

    /// Takes the keys as the store has them.
    async fn reload_keys(&self) -> Result<Vec<SigningKeyRecord>, ControlError> {
        // One at a time, so that what was read earlier never takes the place of what was read later.
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

/// Refuses whoever may not rotate or end signing keys: the keys sign for every workspace, so of the members those
/// may who own all of them.
async fn must_rule_keys(tx: &mut ReadTx, actor: &Actor) -> Result<(), ControlError> {
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

async fn rules_keys(tx: &mut ReadTx, actor: &Actor) -> Result<bool, ControlError> {
    match must_rule_keys(tx, actor).await {
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
