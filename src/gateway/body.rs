//! Holds a bounded body, so that a request is forwarded whole or not at all.
//!
//! The upstream is not contacted before the last byte is here: that is what lets the write key stand
//! last in a batch, and what makes a denial leave no trace upstream. Pingora's own buffer for this ends
//! at 64 KiB and loses bodies beyond it, so the bytes are kept here and sent from here.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use pingora_core::protocols::http::ServerSession;

use super::extract::{self, Coding};
use super::scan::{self, BodyKeys, ScanError};
use crate::config::Limits;
use crate::domain::decision::DenyReason;

/// The most that a compressed body may grow, as a multiple of the body limit.
const INFLATED_TIMES_MAX: usize = 8;

/// The highest compression ratio believed. Real batches of events reach 30.
const RATIO_MAX: usize = 200;

/// Counts the bytes of all bodies held at one moment.
#[derive(Debug)]
pub struct HeldBytes {
    held: AtomicUsize,
    max: usize,
}

/// A body, complete, counted among the held bytes until it is dropped.
pub struct Held {
    bytes: Bytes,
    _share: Share,
}

/// A part of the held bytes, given back when dropped.
struct Share {
    of: Arc<HeldBytes>,
    bytes: usize,
}

impl HeldBytes {
    /// Room for `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            max,
        })
    }

    /// How many bytes are held now.
    #[must_use]
    pub fn now(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl Share {
    fn none(of: &Arc<HeldBytes>) -> Self {
        Self {
            of: Arc::clone(of),
            bytes: 0,
        }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), DenyReason> {
        let before = self.of.held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before.saturating_add(bytes) > self.of.max {
            Err(DenyReason::Overloaded)
        } else {
            Ok(())
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Held {
    /// The body's bytes, as they came.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Reads the whole body.
///
/// # Errors
/// The denial: too large, too slow, too much held at once, or cut off by the client.
pub async fn hold(
    session: &mut ServerSession,
    limits: &Limits,
    held: &Arc<HeldBytes>,
) -> Result<Held, DenyReason> {
    if session.is_body_empty() {
        return Ok(Held {
            bytes: Bytes::new(),
            _share: Share::none(held),
        });
    }
    let length = content_length(session);
    if length.is_some_and(|length| length > limits.body_bytes) {
        return Err(DenyReason::BodyTooLarge);
    }
    if session.get_header(http::header::EXPECT).is_some() {
        // Pingora takes an answer before the body's end for the last one of its connection.
        let keepalive = session.get_keepalive();
        session
            .write_continue_response()
            .await
            .map_err(|_| DenyReason::RequestTimeout)?;
        session.set_keepalive(keepalive);
    }
    let reading = read_whole(session, length, limits.body_bytes, held);
    tokio::time::timeout(limits.body_timeout, reading)
        .await
        .map_err(|_| DenyReason::RequestTimeout)?
}

/// The declared length. More than digits was refused with the head.
fn content_length(session: &ServerSession) -> Option<usize> {
    session
        .get_header(http::header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

async fn read_whole(
    session: &mut ServerSession,
    length: Option<usize>,
    bytes_max: usize,
    held: &Arc<HeldBytes>,
) -> Result<Held, DenyReason> {
    let mut share = Share::none(held);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut total = 0_usize;
    // A body cut short must not be forwarded as if it were whole; the reader errors on that.
    while let Some(part) = session
        .read_request_body()
        .await
        .map_err(|_| DenyReason::RequestMalformed)?
    {
        total = total.saturating_add(part.len());
        if total > bytes_max {
            return Err(DenyReason::BodyTooLarge);
        }
        share.grow(part.len())?;
        if first.is_empty() && rest.is_empty() {
            first = part;
        } else {
            if rest.is_empty() {
                // At least doubling, so that a body in small pieces is not copied over and over.
                rest.reserve(length.unwrap_or(total * 2));
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&part);
        }
    }
    if length.is_some_and(|length| length != total) {
        return Err(DenyReason::RequestMalformed);
    }
    let bytes = if rest.is_empty() { first } else { rest.freeze() };
    Ok(Held { bytes, _share: share })
}

/// The write keys in a held body, `None` for an empty one.
///
/// # Errors
/// The denial for a body that is not one JSON object, names several sources, or cannot be inflated
/// within the bounds.
pub fn write_keys(
    headers: &http::HeaderMap,
    held: &Held,
    limits: &Limits,
    share_of: &Arc<HeldBytes>,
) -> Result<Option<BodyKeys>, DenyReason> {
    let coding = extract::coding(headers)?;
    if held.bytes.is_empty() {
        return Ok(None);
    }
    let scanned = match coding {
        Coding::Identity => scan::scan(&held.bytes),
        Coding::Gzip => {
            let mut share = Share::none(share_of);
            scan::scan(&inflate(&held.bytes, limits.body_bytes, &mut share)?)
        }
    };
    scanned.map(Some).map_err(|error| match error {
        ScanError::Invalid => DenyReason::BodyInvalid,
        ScanError::Ambiguous => DenyReason::SourceAmbiguous,
    })
}

/// Inflates one gzip member within bounds of size and ratio. Several members, or bytes after the end,
/// are refused: servers differ in whether they read on.
fn inflate(gzip: &[u8], body_bytes_max: usize, share: &mut Share) -> Result<Vec<u8>, DenyReason> {
    let most = (body_bytes_max * INFLATED_TIMES_MAX).min(gzip.len().saturating_mul(RATIO_MAX));
    let mut decoder = flate2::bufread::GzDecoder::new(gzip);
    let mut out = Vec::with_capacity(gzip.len().saturating_mul(4).min(most));
    let mut part = [0_u8; 16 * 1024];
    loop {
        let read = decoder.read(&mut part).map_err(|_| DenyReason::BodyInvalid)?;
        if read == 0 {
            break;
        }
        share.grow(read)?;
        if out.len() + read > most {
            return Err(DenyReason::BodyTooLarge);
        }
        out.extend_from_slice(part.get(..read).unwrap_or_default());
    }
    if decoder.into_inner().is_empty() {
        Ok(out)
    } else {
        Err(DenyReason::BodyInvalid)
    }
}
