//! The key ring of this server: the key that signs now, the published keys, and how they are stored.
//!
//! A key's state follows from its times and the clock: it is published when it is made, signs from `signs_from` until
//! `signs_until`, and is dropped a day after `ends_at`, when its last token has expired on every clock. So all processes
//! switch keys at the same time without a message between them: each has read the next key while it was only published.
//! [`super::rotation`] makes, revokes and drops keys.

use crate::control::changes::Changes;
use crate::control::error::UnreadableKey;
use crate::domain::issue::IssuerIdentity;
use arc_swap::ArcSwap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use zeroize::Zeroizing;

use super::signing_key::SigningKey;
use crate::config::Signing;
use crate::control::actor::Actor;
use crate::control::audit_event::{AuditAction, Event};
use crate::control::error::ControlError;
use crate::control::ids::Ids;
use crate::control::open_error::OpenError;
use crate::domain::ids::KeyId;
use crate::domain::jws::CompactJws;
use crate::domain::time::UnixSeconds;
use crate::snapshot::{Change, IssuerRecord, Jwk, jwk};
use crate::store::signing_keys::SigningKeyRecord;
use crate::store::{ReadTx, Store, StoreError};

/// How long clients may cache the key set, in seconds. A new key is published for longer before it signs.
pub(crate) const KEY_SET_AGE_S: u64 = 300;

/// The author of the first key.
static START: Actor = Actor::system("start");

/// A key of the ring with its times.
#[derive(Clone)]
pub struct HeldKey {
    key: Arc<SigningKey>,
    jwk: Jwk,
    signs_from: UnixSeconds,
    signs_until: Option<UnixSeconds>,
    ends_at: Option<UnixSeconds>,
}

impl HeldKey {
    fn new(key: Arc<SigningKey>, record: &SigningKeyRecord) -> Self {
        Self {
            jwk: public_jwk(&key),
            key,
            signs_from: record.signs_from,
            signs_until: record.signs_until,
            ends_at: record.ends_at,
        }
    }

    fn id(&self) -> &KeyId {
        self.key.verifying().id()
    }

    fn is_as_in(&self, record: &SigningKeyRecord) -> bool {
        *self.id() == record.id
            && self.signs_from == record.signs_from
            && self.signs_until == record.signs_until
            && self.ends_at == record.ends_at
    }
}

impl fmt::Debug for HeldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeldKey({} from {})", self.id(), self.signs_from)
    }
}

/// The signing keys in the order in which they sign. A ring is immutable: a change replaces it.
#[derive(Debug)]
pub struct KeyRing {
    first: HeldKey,
    later: Vec<HeldKey>,
}

impl KeyRing {
    /// The ring of these records, one at least. Keys that `before` has are not decrypted again.
    pub(crate) fn of(
        records: &[SigningKeyRecord],
        settings: &Signing,
        before: Option<&Self>,
    ) -> Result<Self, UnreadableKey> {
        let mut held = records.iter().map(|record| {
            let known = before.and_then(|ring| ring.keys().find(|held| *held.id() == record.id));
            let key = match known {
                Some(held) => Arc::clone(&held.key),
                None => Arc::new(read(record, settings)?),
            };
            Ok(HeldKey::new(key, record))
        });
        Ok(Self {
            first: held.next().ok_or(UnreadableKey::Corrupted)??,
            later: held.collect::<Result<_, _>>()?,
        })
    }

    /// The key that signs new tokens. Before the first key's `signs_from`, which takes a clock that was set back, it is the
    /// first key.
    pub(crate) fn active(&self, now: UnixSeconds) -> &SigningKey {
        let began = self.later.iter().rev().find(|held| held.signs_from <= now);
        &began.unwrap_or(&self.first).key
    }

    fn keys(&self) -> impl Iterator<Item = &HeldKey> {
        std::iter::once(&self.first).chain(&self.later)
    }

    /// Whether a key of the ring made the token's signature.
    pub(crate) fn signed(&self, token: &CompactJws<'_>) -> bool {
        self.keys()
            .any(|held| token.key_id() == Some(held.id()) && token.is_signed_by(held.key.verifying()))
    }

    /// The published key set.
    pub(crate) fn jwks(&self) -> Vec<Jwk> {
        self.keys().map(|held| held.jwk.clone()).collect()
    }

    /// Whether the ring is what these records say.
    pub(crate) fn is_as_in(&self, records: &[SigningKeyRecord]) -> bool {
        self.keys().count() == records.len()
            && self
                .keys()
                .zip(records)
                .all(|(held, record)| held.is_as_in(record))
    }

    /// Reads the keys from the store. On the first start it makes one. Where an encryption key is configured, keys in
    /// plain text, or encrypted with the previous key, are encrypted with it.
    pub(crate) async fn open(
        store: &Store,
        settings: &Signing,
        issuer: &str,
        audience: &str,
        now: UnixSeconds,
    ) -> Result<Self, OpenError> {
        let records = store.read().await?.signing_keys().await?;
        let settled = records.iter().all(|record| is_settled(record, settings));
        if settled && !records.is_empty() {
            return Ok(Self::of(&records, settings, None)?);
        }
        let fresh = SigningKey::generate(settings.algorithm).map_err(|_| OpenError::SigningKey)?;
        // Another process may have done the same meanwhile: look again inside the transaction.
        let mut tx = store.write().await?;
        let mut records = tx.signing_keys().await?;
        let mut changes = Vec::new();
        if records.is_empty() {
            let record = record(&fresh, settings, now, now).map_err(|_| OpenError::SigningKey)?;
            tx.insert_signing_key(&record).await?;
            records.push(record);
            changes.push(Change::PutIssuer(issuer_record(&records, issuer, audience)?));
        }
        let ring = Self::of(&records, settings, None)?;
        for (record, held) in records.iter_mut().zip(ring.keys()) {
            if !is_settled(record, settings) {
                keep(record, &held.key, settings).map_err(|_| OpenError::SigningKey)?;
                tx.update_signing_key(record).await?;
            }
        }
        if let (false, Some(first)) = (changes.is_empty(), records.first()) {
            let event = signing_key_added(first).into_row(&Ids::new(), now, &START);
            tx.append_audit(&event).await?;
        }
        let body = serde_json::to_string(&changes).map_err(|_| OpenError::SigningKey)?;
        tx.commit(&body, now).await?;
        Ok(ring)
    }
}

impl KeyRing {
    /// Reads the keys from the store while another process serves with them. That process must be able to read every key
    /// made here, so the stored keys must match these settings.
    pub(crate) async fn open_for_admin(store: &Store, settings: &Signing) -> Result<Self, OpenError> {
        let records = store.read().await?.signing_keys().await?;
        let ring = Self::of(&records, settings, None)?;
        if !records.iter().all(|record| is_settled(record, settings)) {
            return Err(OpenError::UnsettledKeys);
        }
        Ok(ring)
    }
}

/// Whether a record is stored as the settings require.
fn is_settled(record: &SigningKeyRecord, settings: &Signing) -> bool {
    let wanted = settings.key_encryption_key.as_ref().map(|key| key.id());
    !record.public.is_empty() && (wanted.is_none() || record.sealed_with.as_deref() == wanted)
}

fn read(record: &SigningKeyRecord, settings: &Signing) -> Result<SigningKey, UnreadableKey> {
    let der = match record.sealed_with.as_deref() {
        None => STANDARD.decode(&*record.secret).ok().map(Zeroizing::new),
        Some(sealed_with) => {
            let current = settings.key_encryption_key.as_ref();
            let known = current.into_iter().chain(&settings.previous_key_encryption_key);
            let key = known.into_iter().find(|key| key.id() == sealed_with);
            let key = key.ok_or_else(|| match current {
                None => UnreadableKey::NoKey(sealed_with.to_owned()),
                Some(current) => UnreadableKey::OtherKey {
                    sealed_with: sealed_with.to_owned(),
                    configured: current.id().to_owned(),
                },
            })?;
            key.open(&label(record), &record.secret)
        }
    };
    let key = der.and_then(|der| SigningKey::from_pkcs8(record.algorithm, der).ok());
    key.filter(|key| *key.verifying().id() == record.id)
        .ok_or(UnreadableKey::Corrupted)
}

/// What the encryption of a key is bound to: its row and its algorithm.
fn label(record: &SigningKeyRecord) -> String {
    format!("signing_keys {} {}", record.id, record.algorithm.as_str())
}

/// Puts both halves of a key into its record, the private one encrypted as the settings require.
fn keep(record: &mut SigningKeyRecord, key: &SigningKey, settings: &Signing) -> Result<(), ControlError> {
    const FAILED: ControlError = ControlError::Crypto("sealing a signing key");
    record.public = serde_json::to_string(&public_jwk(key)).map_err(|_| FAILED)?;
    let (secret, sealed_with) = match &settings.key_encryption_key {
        None => (STANDARD.encode(key.pkcs8()), None),
        Some(sealing) => {
            let sealed = sealing.seal(&label(record), key.pkcs8());
            (sealed.ok_or(FAILED)?, Some(sealing.id().to_owned()))
        }
    };
    record.secret = Zeroizing::new(secret);
    record.sealed_with = sealed_with;
    Ok(())
}

/// The record of a new key that signs from `signs_from` on.
pub(crate) fn record(
    key: &SigningKey,
    settings: &Signing,
    now: UnixSeconds,
    signs_from: UnixSeconds,
) -> Result<SigningKeyRecord, ControlError> {
    let mut record = SigningKeyRecord {
        id: key.verifying().id().clone(),
        algorithm: key.algorithm(),
        secret: Zeroizing::new(String::new()),
        sealed_with: None,
        public: String::new(),
        created_at: now,
        signs_from,
        signs_until: None,
        ends_at: None,
    };
    keep(&mut record, key, settings)?;
    Ok(record)
}

/// The audit event of a new key.
pub(crate) fn signing_key_added(record: &SigningKeyRecord) -> Event {
    let (algorithm, signs_from) = (record.algorithm.as_str(), record.signs_from.0);
    Event::of_server(
        AuditAction::SigningKeyAdded,
        "signing_key",
        &record.id,
        &algorithm,
    )
    .made(json!({"algorithm": algorithm, "signs_from": signs_from}))
}

fn public_jwk(key: &SigningKey) -> Jwk {
    let key = key.verifying();
    jwk(key.id(), key.public(), key.algorithm())
}

/// This server as an issuer, with these keys, as gateways receive it.
pub(crate) fn issuer_record(
    records: &[SigningKeyRecord],
    issuer: &str,
    audience: &str,
) -> Result<IssuerRecord, StoreError> {
    issuer_of(
        records.iter().map(|record| record.public.as_str()),
        issuer,
        audience,
    )
}

fn issuer_of<'k>(
    keys: impl Iterator<Item = &'k str>,
    issuer: &str,
    audience: &str,
) -> Result<IssuerRecord, StoreError> {
    let keys: Result<Vec<Jwk>, _> = keys.map(serde_json::from_str).collect();
    Ok(IssuerRecord {
        issuer: issuer.to_owned(),
        audience: audience.to_owned(),
        keys: keys.map_err(|_| StoreError::Corrupted("signing_keys"))?,
    })
}

/// This server as an issuer, as of one view of the store. The ring of this process does not count: another process
/// may have made a key.
pub(crate) async fn stored_issuer(
    tx: &mut ReadTx,
    identity: &IssuerIdentity,
) -> Result<IssuerRecord, StoreError> {
    let keys = tx.published_keys().await?;
    issuer_of(
        keys.iter().map(String::as_str),
        &identity.issuer,
        &identity.audience,
    )
}

/// This server's signing keys, as gateways and clients see them.
pub struct IssuerKeys {
    pub(crate) identity: Arc<IssuerIdentity>,
    pub(crate) keys: Arc<ArcSwap<KeyRing>>,
    pub(crate) changes: Arc<Changes>,
}

impl IssuerKeys {
    /// The published key set.
    pub(crate) fn published(&self) -> Vec<Jwk> {
        self.keys.load().jwks()
    }

    /// This server as an issuer, as of one view of the store.
    pub(crate) async fn issuer_in(&self, tx: &mut ReadTx) -> Result<IssuerRecord, StoreError> {
        stored_issuer(tx, &self.identity).await
    }

    /// The active signing key as PKCS#8 PEM, for quickstart's export only.
    #[must_use]
    pub fn signing_key_pkcs8_pem(&self) -> Zeroizing<String> {
        let ring = self.keys.load();
        let body = Zeroizing::new(STANDARD.encode(ring.active(self.changes.now()).pkcs8()));
        let mut pem = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 64));
        pem.push_str("-----BEGIN PRIVATE KEY-----\n");
        for (at, letter) in body.chars().enumerate() {
            if at > 0 && at % 64 == 0 {
                pem.push('\n');
            }
            pem.push(letter);
        }
        pem.push_str("\n-----END PRIVATE KEY-----\n");
        pem
    }
}
