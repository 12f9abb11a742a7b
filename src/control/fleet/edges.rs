//! Edges: enrolled with a join token, renamed, given another key, revoked. Only who may manage signing keys may do this:
//! an edge sees every workspace's sources.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use zeroize::Zeroizing;

use crate::control::actor::Actor;
use crate::control::audit_event::{AuditAction, Event};
use crate::control::changes::{ChangeTx, Changes};
use crate::control::conflict::Conflict;
use crate::control::error::ControlError;
use crate::control::ids;
use crate::control::ids::Ids;
use crate::control::input::name;
use crate::domain::digest::sha256;
use crate::domain::ids::EdgeId;
use crate::domain::role::Action;
use crate::domain::time::UnixSeconds;
use crate::fleet::protocol::JOIN_TOKEN_PREFIX;
use crate::model::edge::Edge;
use crate::store::{ReadTx, Store};

/// How long a join token is accepted, in seconds.
const JOIN_TOKEN_LIFETIME_S: u64 = 3_600;

/// Random letters and digits of a join token: 256 bits.
const JOIN_TOKEN_CHARS: usize = 43;

/// Edges and unused join tokens that there may be.
const EDGES_MAX: u64 = 10_000;

/// The length of an Ed25519 public key, in bytes.
const PUBLIC_KEY_BYTES: usize = 32;

/// The server itself, where an edge proves itself with its token or key.
pub(super) static EDGE: Actor = Actor::system("edge");

/// A new join token: it enrols one edge, once. Shown by [`JoinToken::expose`] and kept as a hash.
pub struct JoinToken {
    secret: Zeroizing<String>,
    pub expires_at: UnixSeconds,
}

impl JoinToken {
    /// The token itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(..)")
    }
}

/// Enrolled edges.
pub struct Edges {
    pub(crate) ids: Arc<Ids>,
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
    /// Revocations that edges brought back to this process.
    pub(crate) recovered: AtomicU64,
}

impl Edges {
    /// Makes a token that enrols one edge under `edge_name` within an hour.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] for a name that cannot be taken, [`Conflict::EdgeName`] for one that is in use,
    /// [`Conflict::Edges`] where there are 10,000, [`ControlError::NotOwnerOfAll`].
    pub async fn create_join_token(&self, actor: &Actor, edge_name: &str) -> Result<JoinToken, ControlError> {
        let edge_name = name(edge_name, "name")?;
        let mut tx = self.begin(actor).await?;
        if tx.edge_named(edge_name.as_str()).await?.is_some() {
            return Err(Conflict::EdgeName.into());
        }
        if tx.edge_count().await? >= EDGES_MAX {
            return Err(Conflict::Edges.into());
        }
        let random = ids::alphanumerics(JOIN_TOKEN_CHARS)?;
        let token = JoinToken {
            secret: Zeroizing::new(format!("{JOIN_TOKEN_PREFIX}{}", random.as_str())),
            expires_at: self.changes.now().plus(JOIN_TOKEN_LIFETIME_S),
        };
        tx.insert_join_token(&hash(token.expose()), edge_name.as_str(), token.expires_at)
            .await?;
        let event = Event::of_server(AuditAction::EdgeJoinTokenCreated, "edge", &edge_name, &edge_name);
        self.changes.commit(tx, &[], event).await?;
        Ok(token)
    }

    /// Enrols an edge: uses up the token, and keeps the public key.
    ///
    /// # Errors
    /// [`ControlError::JoinRefused`] for a token that is unknown, used or expired,
    /// [`ControlError::Invalid`] for a public key that is none, [`Conflict::EdgeName`].
    pub(crate) async fn join(&self, token: &str, public_key: &str) -> Result<Edge, ControlError> {
        check_public_key(public_key)?;
        if !token.starts_with(JOIN_TOKEN_PREFIX) {
            return Err(ControlError::JoinRefused);
        }
        let mut tx = self.changes.begin_unproved().await?;
        let now = self.changes.now();
        let Some(edge_name) = tx.take_join_token(&hash(token), now).await? else {
            return Err(ControlError::JoinRefused);
        };
        let mut tx = tx.proved(EDGE.clone());
        if tx.edge_named(&edge_name).await?.is_some() {
            return Err(Conflict::EdgeName.into());
        }
        let edge = Edge {
            id: self.ids.make("edge", EdgeId::parse, now)?,
            name: name(&edge_name, "name")?,
            public_key: public_key.to_owned(),
            next_key: None,
            rotate: false,
            created_at: now,
            revoked_at: None,
        };
        tx.insert_edge(&edge).await?;
        let event = Event::of_server(AuditAction::EdgeJoined, "edge", &edge.id, &edge.name)
            .made(json!({"public_key": public_key}));
        self.changes.commit(tx, &[], event).await?;
        Ok(edge)
    }

    /// Every edge, revoked ones included.
    ///
    /// # Errors
    /// [`ControlError::NotOwnerOfAll`].
    pub async fn list(&self, actor: &Actor) -> Result<Vec<Edge>, ControlError> {
        let mut tx = self.store.read().await?;
        require_fleet_owner(&mut tx, actor).await?;
        Ok(tx.edges().await?)
    }

    /// Whether the actor may list and manage edges.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub(crate) async fn can_manage(&self, actor: &Actor) -> Result<bool, ControlError> {
        match require_fleet_owner(&mut self.store.read().await?, actor).await {
            Ok(()) => Ok(true),
            Err(error @ (ControlError::Store(_) | ControlError::Crypto(_))) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Renames an edge.
    ///
    /// # Errors
    /// [`ControlError::NotFound`], [`ControlError::Invalid`], [`Conflict::EdgeName`], [`ControlError::NotOwnerOfAll`].
    pub async fn rename(&self, actor: &Actor, id: &EdgeId, new_name: &str) -> Result<Edge, ControlError> {
        let new_name = name(new_name, "name")?;
        let mut tx = self.begin(actor).await?;
        let mut edge = found(&mut tx, id).await?;
        if let Some(other) = tx.edge_named(new_name.as_str()).await?
            && other.id != edge.id
        {
            return Err(Conflict::EdgeName.into());
        }
        let before = std::mem::replace(&mut edge.name, new_name);
        tx.update_edge(&edge).await?;
        let event = Event::of_server(AuditAction::EdgeChanged, "edge", &edge.id, &edge.name).changed(
            json!({"name": before.as_str()}),
            json!({"name": edge.name.as_str()}),
        );
        self.changes.commit(tx, &[], event).await?;
        Ok(edge)
    }

    /// Asks an edge to replace its key pair when it next connects. Its old key is accepted until the new one was used.
    ///
    /// # Errors
    /// [`ControlError::NotFound`], [`ControlError::NotOwnerOfAll`].
    pub async fn rotate(&self, actor: &Actor, id: &EdgeId) -> Result<Edge, ControlError> {
        let mut tx = self.begin(actor).await?;
        let mut edge = found(&mut tx, id).await?;
        edge.rotate = true;
        tx.update_edge(&edge).await?;
        let event = Event::of_server(AuditAction::EdgeChanged, "edge", &edge.id, &edge.name)
            .changed(json!({"rotate": false}), json!({"rotate": true}));
        self.changes.commit(tx, &[], event).await?;
        Ok(edge)
    }

    /// Revokes an edge: its sessions end at once, it opens no further one, and its lease is renewed no more, so that it
    /// refuses what is enforced within `max_age`.
    ///
    /// # Errors
    /// [`ControlError::NotFound`], [`ControlError::NotOwnerOfAll`].
    pub async fn revoke(&self, actor: &Actor, id: &EdgeId) -> Result<Edge, ControlError> {
        let mut tx = self.begin(actor).await?;
        let mut edge = found(&mut tx, id).await?;
        edge.revoked_at = Some(self.changes.now());
        edge.next_key = None;
        tx.update_edge(&edge).await?;
        let event = Event::of_server(AuditAction::EdgeRevoked, "edge", &edge.id, &edge.name);
        self.changes.commit(tx, &[], event).await?;
        Ok(edge)
    }

    /// Takes the key that an edge made to replace its own.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] for a public key that is none or that nobody asked for, [`ControlError::NotFound`].
    pub(crate) async fn offer_key(&self, id: &EdgeId, public_key: &str) -> Result<(), ControlError> {
        check_public_key(public_key)?;
        let mut tx = self.changes.begin_unproved().await?.proved(EDGE.clone());
        let mut edge = found(&mut tx, id).await?;
        // Else a stolen session, which lasts minutes, could take the edge over for good.
        if !edge.rotate {
            let problem = "is not taken: no operator has asked this edge for a new key";
            return Err(ControlError::invalid("public_key", problem));
        }
        edge.next_key = Some(public_key.to_owned());
        tx.update_edge(&edge).await?;
        let event = Event::of_server(AuditAction::EdgeChanged, "edge", &edge.id, &edge.name)
            .made(json!({"next_key": public_key}));
        self.changes.commit(tx, &[], event).await
    }

    /// The edge whose key signed `text`, unless it is unknown or revoked. The first use of a new key replaces the old one.
    ///
    /// # Errors
    /// [`ControlError::Unauthenticated`].
    pub(crate) async fn authenticate(
        &self,
        id: &str,
        text: &str,
        signature: &str,
    ) -> Result<Edge, ControlError> {
        let id = EdgeId::parse(id).map_err(|_| ControlError::Unauthenticated)?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| ControlError::Unauthenticated)?;
        let edge = self.store.read().await?.edge(&id).await?;
        let edge = edge
            .filter(|edge| edge.revoked_at.is_none())
            .ok_or(ControlError::Unauthenticated)?;
        if verifies(&edge.public_key, text, &signature) {
            return Ok(edge);
        }
        match &edge.next_key {
            Some(next) if verifies(next, text, &signature) => self.adopt_next_key(&edge.id).await,
            _ => Err(ControlError::Unauthenticated),
        }
    }

    async fn adopt_next_key(&self, id: &EdgeId) -> Result<Edge, ControlError> {
        let mut tx = self.changes.begin_unproved().await?.proved(EDGE.clone());
        let mut edge = found(&mut tx, id).await?;
        let Some(next) = edge.next_key.take() else {
            return Ok(edge);
        };
        let before = std::mem::replace(&mut edge.public_key, next);
        edge.rotate = false;
        tx.update_edge(&edge).await?;
        let event = Event::of_server(AuditAction::EdgeKeyRotated, "edge", &edge.id, &edge.name).changed(
            json!({"public_key": before}),
            json!({"public_key": edge.public_key}),
        );
        self.changes.commit(tx, &[], event).await?;
        Ok(edge)
    }

    pub(super) async fn begin(&self, actor: &Actor) -> Result<ChangeTx, ControlError> {
        require_fleet_owner(&mut self.store.read().await?, actor).await?;
        let mut tx = self.changes.begin(actor).await?;
        require_fleet_owner(&mut tx, actor).await?;
        Ok(tx)
    }
}

/// Refuses who may not manage edges: each edge holds the policy of every workspace, so of the members those may who own
/// all of them. An API token is for one workspace, so it may where there is no other.
pub(super) async fn require_fleet_owner(tx: &mut ReadTx, actor: &Actor) -> Result<(), ControlError> {
    let Some(member) = actor.as_member() else {
        return actor.require_system();
    };
    actor.require(&member.workspace, Action::EditWorkspace)?;
    if !tx.owns_every_workspace(&member.account).await? {
        return Err(ControlError::NotOwnerOfAll);
    }
    if tx.workspace_count().await? > 1 {
        actor.require_session()?;
    }
    Ok(())
}

async fn found(tx: &mut ReadTx, id: &EdgeId) -> Result<Edge, ControlError> {
    let edge = tx.edge(id).await?;
    edge.filter(|edge| edge.revoked_at.is_none())
        .ok_or(ControlError::NotFound("edge"))
}

fn hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(token.as_bytes()))
}

fn check_public_key(text: &str) -> Result<(), ControlError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    if bytes.len() == PUBLIC_KEY_BYTES {
        Ok(())
    } else {
        let problem = "is no Ed25519 public key, which is 32 bytes in base64url";
        Err(ControlError::invalid("public_key", problem))
    }
}

fn verifies(public_key: &str, text: &str, signature: &[u8]) -> bool {
    let Ok(key) = URL_SAFE_NO_PAD.decode(public_key) else {
        return false;
    };
    UnparsedPublicKey::new(&ED25519, key)
        .verify(text.as_bytes(), signature)
        .is_ok()
}
