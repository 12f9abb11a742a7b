//! Holds a bounded body, so that a request is forwarded whole or not at all.
//!
//! The gateway contacts the upstream only after the last byte of the body arrived. So the write key may stand last in a
//! batch, and a denial leaves no trace upstream.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use foldhash::fast::RandomState;
use pingora_timeout::timeout;

use super::head;
use super::large_bodies::Breather;
use super::refusal::Refusal;
use crate::config::Limits;
use crate::domain::decimal::digits;
use crate::domain::decision::DenyReason;
use crate::gateway::wire::session::Session;

/// Memory of a request over HTTP/2 apart from its body and the text of its head: its task, its session and their
/// tables, rounded up, in bytes.
const REQUEST_BYTES: usize = 8 << 10;

/// How much of a body is read at once.
const PART_BYTES: usize = 64 << 10;

/// The number of counters for clients. Two clients with one counter share a limit.
const CLIENTS: usize = 1024;

/// Counts the bytes of all bodies held now, and those of each client, so that no client can take all the room. Over
/// HTTP/2 it also counts the other memory of their requests.
#[derive(Debug)]
pub struct HeldBytes {
    held: AtomicUsize,
    max: AtomicUsize,
    /// By a keyed hash of the client's address; the size is fixed.
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

    /// Replaces the limits.
    pub fn set_limits(&self, limits: &Limits) {
        self.max.store(limits.held_bytes, Ordering::Relaxed);
        self.client_max
            .store(limits.held_bytes_per_client, Ordering::Relaxed);
    }

    /// The index in `by_client` of an address; IPv6 counts by /64, since one client has a whole network.
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
            self.shrink(bytes);
            Err(DenyReason::Overloaded)
        } else {
            Ok(())
        }
    }

    fn shrink(&mut self, bytes: usize) {
        self.of.held.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(own) = self.own() {
            own.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.bytes -= bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

impl Held {
    /// A body that did not come over a socket.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn for_test(bytes: Bytes, of: &Arc<HeldBytes>) -> Self {
        Self {
            bytes,
            share: Share::none(of, 0),
        }
    }

    /// Counts bytes of the response that wait for the client, until the request ends.
    ///
    /// # Errors
    /// [`DenyReason::Overloaded`] where the client, or all clients together, hold too much.
    pub fn add_response(&mut self, bytes: usize) -> Result<(), DenyReason> {
        self.share.grow(bytes)
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
    session: &mut Session,
    limits: &Limits,
    held: &Arc<HeldBytes>,
    client: Option<IpAddr>,
) -> Result<Held, Refusal> {
    let mut share = Share::none(held, held.client(client));
    // An HTTP/1 connection holds one head, and connections are limited; an HTTP/2 connection holds one for each stream.
    if session.is_http2() {
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

/// The declared length. A length that is not digits alone was refused with the head.
fn content_length(session: &Session) -> Option<usize> {
    digits(session.get_header(http::header::CONTENT_LENGTH)?.to_str().ok()?)
}

async fn read_whole(
    session: &mut Session,
    length: Option<usize>,
    bytes_max: usize,
    mut share: Share,
) -> Result<Held, Refusal> {
    // A client of HTTP/1.0 would take it for the response (RFC 9110 section 10.1.1).
    let is_asked = session.get_header(http::header::EXPECT).is_some();
    if is_asked && session.req_header().version != http::Version::HTTP_10 {
        let invited = session.write_continue().await;
        invited.map_err(|_| DenyReason::RequestTimeout)?;
    }
    let mut bytes = BytesMut::new();
    let mut breather = Breather::default();
    loop {
        // A body cut short must not be forwarded as if it were whole; the reader errors on that.
        let reading = session.read_body(&mut bytes, PART_BYTES).await;
        let read = reading.map_err(|_| DenyReason::RequestMalformed)?;
        if read == 0 {
            break;
        }
        if bytes.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        share.grow(read)?;
        breather.read(read).await;
    }
    // Only trailers can follow the end.
    if !session.is_body_done() {
        return Err(DenyReason::RequestMalformed.into());
    }
    if length.is_some_and(|length| length != bytes.len()) {
        return Err(DenyReason::RequestMalformed.into());
    }
    Ok(Held {
        bytes: bytes.freeze(),
        share,
    })
}
