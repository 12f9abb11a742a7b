//! Holds a bounded body, so that a request is forwarded whole or not at all.
//!
//! The upstream is not contacted before the last byte is here: that is what lets the write key stand
//! last in a batch, and what makes a denial leave no trace upstream. Pingora's own buffer for this ends
//! at 64 KiB and loses bodies beyond it, so the bytes are kept here and sent from here.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use foldhash::fast::RandomState;
use pingora_core::protocols::http::ServerSession;
use pingora_timeout::timeout;

use super::head;
use super::large_bodies::Breather;
use super::refusal::Refusal;
use crate::config::Limits;
use crate::domain::decimal::digits;
use crate::domain::decision::DenyReason;

/// What a request over HTTP/2 takes beside its body and the text of its head: its task, its session and their
/// tables, rounded up.
const REQUEST_BYTES: usize = 8 << 10;

/// By how much the room for a body grows at a time.
const GROWTH: usize = 4;

/// How many clients are told apart at most. Two that fall together share a share.
const CLIENTS: usize = 1024;

/// Counts the bytes of all bodies held at one moment, over HTTP/2 with what else their requests take, and of
/// them those of each client, so that no one client can take all the room.
#[derive(Debug)]
pub struct HeldBytes {
    held: AtomicUsize,
    max: AtomicUsize,
    /// By a keyed hash of the client's address: a fixed size, whoever comes.
    by_client: Box<[AtomicUsize]>,
    client_max: AtomicUsize,
    hasher: RandomState,
}

/// A body, complete, counted among the held bytes until it is dropped.
pub struct Held {
    bytes: Bytes,
    share: Share,
}

/// A part of the held bytes, given back when dropped.
pub(super) struct Share {
    of: Arc<HeldBytes>,
    client: usize,
    bytes: usize,
}

impl HeldBytes {
    /// Room for as much as the limits say.
    #[must_use]
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            max: AtomicUsize::new(limits.held_bytes),
            by_client: (0..CLIENTS).map(|_| AtomicUsize::new(0)).collect(),
            client_max: AtomicUsize::new(limits.held_bytes_per_client),
            hasher: RandomState::default(),
        })
    }

    /// From now on there is room for as much as these limits say.
    pub fn set_limits(&self, limits: &Limits) {
        self.max.store(limits.held_bytes, Ordering::Relaxed);
        self.client_max
            .store(limits.held_bytes_per_client, Ordering::Relaxed);
    }

    /// The place among `by_client` of an address; of IPv6 the network, of which one client has all.
    fn client(&self, address: Option<IpAddr>) -> usize {
        let hash = match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => self.hasher.hash_one(address.to_bits()),
            Some(IpAddr::V6(address)) => self.hasher.hash_one(address.to_bits() >> 64),
            None => 0,
        };
        usize::try_from(hash % CLIENTS as u64).unwrap_or(0)
    }

    /// How many bytes are held now.
    #[must_use]
    pub fn now(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl Share {
    fn none(of: &Arc<HeldBytes>, client: usize) -> Self {
        Self {
            of: Arc::clone(of),
            client,
            bytes: 0,
        }
    }

    /// A further share of the same client.
    fn another(&self) -> Self {
        Self::none(&self.of, self.client)
    }

    fn own(&self) -> Option<&AtomicUsize> {
        self.of.by_client.get(self.client)
    }

    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), DenyReason> {
        let all = self.of.held.fetch_add(bytes, Ordering::Relaxed);
        let own = self
            .own()
            .map_or(0, |own| own.fetch_add(bytes, Ordering::Relaxed));
        self.bytes += bytes;
        let (max, client_max) = (&self.of.max, &self.of.client_max);
        if all.saturating_add(bytes) > max.load(Ordering::Relaxed)
            || own.saturating_add(bytes) > client_max.load(Ordering::Relaxed)
        {
            Err(DenyReason::Overloaded)
        } else {
            Ok(())
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.held.fetch_sub(self.bytes, Ordering::Relaxed);
        if let Some(own) = self.own() {
            own.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

impl Held {
    /// A body that nobody had to send.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn for_test(bytes: Bytes, of: &Arc<HeldBytes>) -> Self {
        Self {
            bytes,
            share: Share::none(of, 0),
        }
    }

    /// The body's bytes, as they came.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The number of the client that sent it, of [`CLIENTS`].
    pub(super) fn client(&self) -> usize {
        self.share.client
    }

    /// Room for what the body inflates to, in the same client's share.
    pub(super) fn further_share(&self) -> Share {
        self.share.another()
    }
}

/// Reads the whole body of a request by the client of this address.
///
/// # Errors
/// The denial: too large, too slow, too much held at once, or cut off by the client.
pub async fn hold(
    session: &mut ServerSession,
    limits: &Limits,
    held: &Arc<HeldBytes>,
    client: Option<IpAddr>,
) -> Result<Held, Refusal> {
    let mut share = Share::none(held, held.client(client));
    // An HTTP/1 connection holds one head, and connections are counted; an HTTP/2 one holds as many as it has
    // streams.
    if let ServerSession::H2(session) = session {
        share.grow(head::bytes_of(&session.req_header().headers) + REQUEST_BYTES)?;
    }
    if session.is_body_empty() {
        return Ok(Held {
            bytes: Bytes::new(),
            share,
        });
    }
    let length = content_length(session);
    if length.is_some_and(|length| length > limits.body_bytes) {
        return Err(too_large(limits.body_bytes));
    }
    let reading = read_whole(session, length, limits.body_bytes, share);
    timeout(limits.body_timeout, reading)
        .await
        .unwrap_or(Err(DenyReason::RequestTimeout.into()))
}

fn too_large(bytes_max: usize) -> Refusal {
    Refusal::because(
        DenyReason::BodyTooLarge,
        format!("the body is larger than {bytes_max} bytes (limits.body_bytes); send smaller batches"),
    )
}

/// Tells a client that waits for it to go on.
async fn invite(session: &mut ServerSession) -> Result<(), DenyReason> {
    // Pingora takes an answer before the body's end for the last one of its connection.
    let keepalive = session.get_keepalive();
    session
        .write_continue_response()
        .await
        .map_err(|_| DenyReason::RequestTimeout)?;
    session.set_keepalive(keepalive);
    Ok(())
}

/// The declared length. More than digits was refused with the head.
fn content_length(session: &ServerSession) -> Option<usize> {
    digits(session.get_header(http::header::CONTENT_LENGTH)?.to_str().ok()?)
}

async fn read_whole(
    session: &mut ServerSession,
    length: Option<usize>,
    bytes_max: usize,
    mut share: Share,
) -> Result<Held, Refusal> {
    if session.get_header(http::header::EXPECT).is_some() {
        invite(session).await?;
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut total = 0_usize;
    let mut breather = Breather::default();
    // A body cut short must not be forwarded as if it were whole; the reader errors on that.
    while let Some(part) = session
        .read_request_body()
        .await
        .map_err(|_| DenyReason::RequestMalformed)?
    {
        let before = total;
        total = total.saturating_add(part.len());
        if total > bytes_max {
            return Err(too_large(bytes_max));
        }
        share.grow(part.len())?;
        if first.is_empty() && rest.is_empty() {
            first = part;
        } else {
            if rest.capacity() < total {
                // Growing with what came, not to what was promised: the room taken is bounded by the bytes
                // counted. And by much, so that a body in small pieces is not copied over and over.
                let most = length.unwrap_or(bytes_max).max(total);
                rest.reserve(total.saturating_mul(GROWTH).min(most) - rest.len());
            }
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&part);
        }
        breather.read(total - before).await;
    }
    // Only trailers can stand behind the end.
    if !session.is_body_done() {
        return Err(DenyReason::RequestMalformed.into());
    }
    if length.is_some_and(|length| length != total) {
        return Err(DenyReason::RequestMalformed.into());
    }
    let bytes = if rest.is_empty() { first } else { rest.freeze() };
    Ok(Held { bytes, share })
}
