//! Sessions of an edge with one control plane at a time: joining, signing, replacing the key.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::watch;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::client::{Client, LinkError};
use super::folder::{FolderError, StateFolder};
use super::identity::{Identity, new_key, public_half};
use super::metrics::Resync;
use crate::clock::instant;
use crate::config::RemotePolicy;
use crate::domain::policy::{Freshness, WhenStale};
use crate::fleet::protocol::{
    Join, Joined, NewKey, Nonce, OpenSession, SecretText, SessionOpened, session_text,
};

/// An open session.
#[derive(Clone)]
pub(super) struct Opened {
    pub control_plane: String,
    pub token: SecretText,
    pub opened: Instant,
    pub expires_in: Duration,
    /// The fleet's `max_age`.
    pub max_age: Duration,
    pub heartbeat: Duration,
}

/// How following a control plane ended.
pub(super) enum Ended {
    /// A snapshot is due: fetch one and go on in the same session.
    NeedsSnapshot(Resync),
    /// A snapshot was installed: follow the changes after it.
    Resynced,
    /// The session is due to be replaced.
    Renew,
    Failed(LinkError),
    Folder(FolderError),
}

impl From<LinkError> for Ended {
    fn from(error: LinkError) -> Self {
        Self::Failed(error)
    }
}

impl From<FolderError> for Ended {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

/// The session that reports are sent in; none while there is none.
pub(super) type SharedSession = Arc<watch::Sender<Option<Opened>>>;

/// Opens sessions, and knows which control plane is next.
pub(super) struct SessionKeeper {
    client: Client,
    control_planes: Vec<String>,
    at: usize,
    join: Option<Zeroizing<String>>,
    identity: Option<Identity>,
    /// The key that the edge joins with.
    joining: Zeroizing<Vec<u8>>,
    instance: String,
    freshness: Freshness,
    open: SharedSession,
}

impl SessionKeeper {
    pub fn new(
        client: Client,
        settings: &RemotePolicy,
        identity: Option<Identity>,
        freshness: Freshness,
    ) -> Option<Self> {
        let mut random = [0_u8; 20];
        rand::fill(&mut random).ok()?;
        let (instance, at) = random.split_at(16);
        let at = at
            .iter()
            .fold(0_usize, |sum, byte| sum * 256 + usize::from(*byte));
        Some(Self {
            client,
            // Edges begin at random, so that control planes share them.
            at: at % settings.control_planes.len().max(1),
            control_planes: settings.control_planes.clone(),
            join: settings.join.clone(),
            identity,
            joining: new_key()?,
            instance: URL_SAFE_NO_PAD.encode(instance),
            freshness,
            open: Arc::new(watch::Sender::new(None)),
        })
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The session as it is, for what is sent beside it.
    pub fn shared(&self) -> SharedSession {
        Arc::clone(&self.open)
    }

    pub fn control_plane(&self) -> &str {
        self.control_planes.get(self.at).map_or("", String::as_str)
    }

    pub fn next_control_plane(&mut self) {
        self.close();
        self.at = (self.at + 1) % self.control_planes.len().max(1);
    }

    pub fn is_open(&self) -> bool {
        self.open.borrow().is_some()
    }

    pub fn close(&self) {
        self.open.send_replace(None);
    }

    /// The next [`Self::open`] makes a new session of the same instance.
    pub fn close_for_renewal(&self) {
        self.close();
    }

    /// The open session, or a new one. Joins the fleet first where that is to be done.
    pub async fn open(&mut self, folder: &StateFolder) -> Result<Opened, Ended> {
        if let Some(opened) = self.open.borrow().clone() {
            return Ok(opened);
        }
        if self.identity.is_none() {
            self.join(folder).await?;
        }
        let (opened, rotate) = self.open_session(folder).await?;
        if rotate {
            self.replace_key(folder, &opened).await?;
        }
        self.open.send_replace(Some(opened.clone()));
        tracing::info!(control_plane = opened.control_plane, "{SESSION_OPENED}");
        Ok(opened)
    }

    async fn join(&mut self, folder: &StateFolder) -> Result<(), Ended> {
        let unusable = || LinkError::Answer("the key cannot be used");
        let token = self.join.as_ref().map_or("", |token| token.trim());
        let join = Join {
            token: SecretText::new(token.to_owned()),
            public_key: public_half(&self.joining).ok_or_else(unusable)?,
        };
        // The token is used up by the answer, which must not be lost.
        folder.probe()?;
        let base = self.control_plane().to_owned();
        let joined: Joined = self.client.call(&base, "/join", None, &join).await?;
        let identity = Identity::new(joined.edge, joined.name, self.joining.clone()).ok_or_else(unusable)?;
        folder.keep_identity(&identity)?;
        tracing::info!(edge.id = identity.edge, edge.name = identity.name, "{JOINED}");
        self.identity = Some(identity);
        Ok(())
    }

    /// Opens a session with the key that replaces the present one, where there is one, else with the present one.
    async fn open_session(&mut self, folder: &StateFolder) -> Result<(Opened, bool), Ended> {
        let missing = || LinkError::Answer("there is no identity");
        let identity = self.identity.as_ref().ok_or_else(missing)?;
        if let Some(next) = identity.with_next() {
            match self.sign_in(&next).await {
                Ok(opened) => {
                    folder.keep_identity(&next)?;
                    tracing::info!(edge.id = next.edge, "{KEY_REPLACED}");
                    self.identity = Some(next);
                    return Ok(opened);
                }
                // The control plane does not have it: it was not offered before this process ended.
                Err(LinkError::SessionEnded) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let identity = self.identity.as_ref().ok_or_else(missing)?;
        match self.sign_in(identity).await {
            Err(LinkError::SessionEnded) => Err(LinkError::Refused {
                status: 401,
                detail: format!("edge `{}` is unknown or was revoked", identity.edge),
            }
            .into()),
            other => Ok(other?),
        }
    }

    async fn sign_in(&self, identity: &Identity) -> Result<(Opened, bool), LinkError> {
        let base = self.control_plane().to_owned();
        let asked = Instant::from_std(instant());
        let empty = serde_json::Value::Null;
        let Nonce { nonce } = self.client.call(&base, "/nonces", None, &empty).await?;
        let wanted = OpenSession {
            signature: identity.sign(&session_text(&identity.edge, &self.instance, &nonce)),
            edge: identity.edge.clone(),
            instance: self.instance.clone(),
            nonce,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            max_age_s: self.freshness.max_age_s,
            unbounded: self.freshness.when_stale == WhenStale::Allow,
        };
        let answer: SessionOpened = self.client.call(&base, "/sessions", None, &wanted).await?;
        let opened = Opened {
            control_plane: base,
            token: answer.token,
            opened: asked,
            expires_in: Duration::from_secs(answer.expires_in_s),
            max_age: Duration::from_secs(answer.max_age_s),
            heartbeat: Duration::from_millis(answer.heartbeat_ms),
        };
        Ok((opened, answer.rotate_key))
    }

    /// Offers a new key. It is on disk before it is offered, so that an edge never loses the only key that is accepted.
    async fn replace_key(&mut self, folder: &StateFolder, opened: &Opened) -> Result<(), Ended> {
        let Some(identity) = &mut self.identity else {
            return Ok(());
        };
        let Some(public_key) = identity.next_key() else {
            return Ok(());
        };
        keep(folder, identity)?;
        let key = NewKey { public_key };
        let base = &opened.control_plane;
        self.client.send(base, "/keys", Some(&opened.token), &key).await?;
        Ok(())
    }

    /// Says that this instance ends.
    pub async fn goodbye(&self) {
        let opened = self.open.borrow().clone();
        if let Some(opened) = opened
            && let Err(error) = self.client.goodbye(&opened.control_plane, &opened.token).await
        {
            tracing::debug!(%error, "the control plane was not told of the end");
        }
        self.close();
    }
}

fn keep(folder: &StateFolder, identity: &Identity) -> Result<(), FolderError> {
    folder.keep_identity(identity)
}

const JOINED: &str = "joined the fleet";
const SESSION_OPENED: &str = "connected to the control plane";
const KEY_REPLACED: &str = "the edge's key pair was replaced";
