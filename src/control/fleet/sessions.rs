//! Sessions of edges: opened by a signed nonce, renewed by opening another one, ended with the edge.
//!
//! No clock of the edge is involved. Sessions are in memory: after a restart of the control plane every edge opens a new
//! one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::edges::Edges;
use super::instances::Instances;
use crate::control::error::ControlError;
use crate::control::ids;
use crate::domain::digest::sha256;
use crate::domain::ids::EdgeId;
use crate::fleet::protocol::{OpenSession, SESSION_TOKEN_PREFIX, SecretText, session_text};

/// How long a session is accepted, in seconds.
pub(crate) const SESSION_S: u64 = 600;

/// How long a nonce may take to come back signed.
const NONCE_WITHIN: Duration = Duration::from_secs(60);

/// Sessions, and nonces that were used lately, that are remembered.
const HELD_MAX: usize = 32_768;

/// Sessions that one edge may have. With one more, its oldest session ends.
const HELD_OF_EDGE_MAX: usize = 256;

const TOKEN_CHARS: usize = 43;

/// Who speaks in a session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub edge: EdgeId,
    pub instance: String,
    ends: Duration,
}

/// Open sessions.
pub struct EdgeSessions {
    pub(crate) edges: Arc<Edges>,
    pub(crate) instances: Arc<Instances>,
    nonce_key: hmac::Key,
    /// By the hash of the session's token.
    open: Mutex<HashMap<[u8; 32], Session>>,
    /// Nonces that opened a session, until they expire.
    used: Mutex<HashMap<String, Duration>>,
}

impl EdgeSessions {
    /// Without sessions.
    ///
    /// # Errors
    /// [`ControlError::Crypto`].
    pub(crate) fn new(edges: Arc<Edges>, instances: Arc<Instances>) -> Result<Self, ControlError> {
        let nonce_key = hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new())
            .map_err(|_| ControlError::Crypto("random numbers"))?;
        Ok(Self {
            edges,
            instances,
            nonce_key,
            open: Mutex::default(),
            used: Mutex::default(),
        })
    }

    fn now(&self) -> Duration {
        self.edges.changes.clock.uptime()
    }

    /// A nonce to be signed within a minute. Nothing is remembered of it.
    pub(crate) fn nonce(&self) -> Result<String, ControlError> {
        let random = ids::alphanumerics(22)?;
        let text = format!("{}.{}", self.now().as_millis(), random.as_str());
        let tag = hmac::sign(&self.nonce_key, text.as_bytes());
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag)))
    }

    /// Opens a session for an edge that signed a nonce of this control plane. Answers its token, and whether the edge is
    /// asked for a new key.
    ///
    /// # Errors
    /// [`ControlError::Unauthenticated`], [`ControlError::Invalid`], [`ControlError::Busy`], [`ControlError::Store`].
    pub(crate) async fn open(&self, wanted: &OpenSession) -> Result<(SecretText, bool), ControlError> {
        check_instance(&wanted.instance)?;
        self.check_nonce(&wanted.nonce)?;
        let text = session_text(&wanted.edge, &wanted.instance, &wanted.nonce);
        let edge = self
            .edges
            .authenticate(&wanted.edge, &text, &wanted.signature)
            .await?;
        // Only what an edge has signed counts as used: others could use up the room for all.
        self.use_nonce(&wanted.nonce)?;
        let rotate = edge.rotate && edge.next_key.is_none();
        self.instances.add_edge(edge.clone());
        let max_age = Duration::from_secs(wanted.max_age_s);
        self.instances
            .open(
                &edge.id,
                &wanted.instance,
                &wanted.build,
                max_age,
                wanted.unbounded,
            )
            .await?;
        let random = ids::alphanumerics(TOKEN_CHARS)?;
        let token = SecretText::new(format!("{SESSION_TOKEN_PREFIX}{}", random.as_str()));
        let now = self.now();
        let session = Session {
            edge: edge.id,
            instance: wanted.instance.clone(),
            ends: now + Duration::from_secs(SESSION_S),
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, held| held.ends > now);
        end_oldest(&mut open, &session.edge);
        if open.len() >= HELD_MAX {
            return Err(ControlError::Busy);
        }
        open.insert(sha256(token.expose().as_bytes()), session);
        Ok((token, rotate))
    }

    /// The session that a token is of.
    ///
    /// # Errors
    /// [`ControlError::Unauthenticated`].
    pub(crate) fn find(&self, token: &str) -> Result<Session, ControlError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let session = open.get(&sha256(token.as_bytes())).cloned();
        session
            .filter(|session| session.ends > self.now() && self.instances.is_enrolled(&session.edge))
            .ok_or(ControlError::Unauthenticated)
    }

    /// Ends every session of an instance, and writes the instance off.
    pub(crate) async fn end(&self, session: &Session) -> Result<(), ControlError> {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, held| held.instance != session.instance);
        self.instances.end(&session.instance).await
    }

    /// Checks that a nonce is of this control plane, and when it was made.
    fn check_nonce(&self, nonce: &str) -> Result<Duration, ControlError> {
        let refused = || ControlError::Unauthenticated;
        let (text, tag) = nonce.rsplit_once('.').ok_or_else(refused)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| refused())?;
        hmac::verify(&self.nonce_key, text.as_bytes(), &tag).map_err(|_| refused())?;
        let (made, _) = text.split_once('.').ok_or_else(refused)?;
        let made = Duration::from_millis(made.parse().map_err(|_| refused())?);
        let now = self.now();
        if now.saturating_sub(made) > NONCE_WITHIN {
            return Err(refused());
        }
        Ok(made)
    }

    fn use_nonce(&self, nonce: &str) -> Result<(), ControlError> {
        let made = self.check_nonce(nonce)?;
        let now = self.now();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, ends| *ends > now);
        if used.len() >= HELD_MAX {
            return Err(ControlError::Busy);
        }
        match used.insert(nonce.to_owned(), made + NONCE_WITHIN) {
            None => Ok(()),
            Some(_) => Err(ControlError::Unauthenticated),
        }
    }
}

/// Makes room for one more session of an edge that has as many as it may have.
fn end_oldest(open: &mut HashMap<[u8; 32], Session>, edge: &EdgeId) {
    let own = open.iter().filter(|(_, held)| held.edge == *edge);
    if own.clone().count() >= HELD_OF_EDGE_MAX
        && let Some((oldest, _)) = own.min_by_key(|(_, held)| held.ends)
    {
        let oldest = *oldest;
        open.remove(&oldest);
    }
}

fn check_instance(text: &str) -> Result<(), ControlError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if (16..=64).contains(&text.len()) && text.bytes().all(plain) {
        Ok(())
    } else {
        Err(ControlError::invalid(
            "instance",
            "is not 16 to 64 characters of base64url",
        ))
    }
}
