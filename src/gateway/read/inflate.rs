//! Inflates a gzip body within bounds of size and ratio, in slices.

use std::io::{self, BufRead, ErrorKind, Read};

use super::body::Share;
use super::large_bodies::Slices;
use super::refusal::Refusal;
use crate::domain::cost;
use crate::domain::decision::DenyReason;

/// The most that a compressed body may grow, as a multiple of the body limit.
const INFLATED_TIMES_MAX: usize = 8;

/// The highest compression ratio accepted. Real batches of events reach 30.
const RATIO_MAX: usize = 200;

/// Inflates one gzip member within bounds of size and ratio. Several members, or bytes after the end,
/// are refused: servers differ in whether they read on.
pub(super) async fn inflate(
    gzip: &[u8],
    body_bytes_max: usize,
    share: &mut Share,
    slices: &mut Slices,
) -> Result<Vec<u8>, Refusal> {
    let by_size = body_bytes_max.saturating_mul(INFLATED_TIMES_MAX);
    let by_ratio = gzip.len().saturating_mul(RATIO_MAX);
    let most = by_size.min(by_ratio);
    let mut decoder = flate2::bufread::GzDecoder::new(Rationed::of(gzip));
    let mut out = Vec::with_capacity(gzip.len().saturating_mul(4).min(most));
    loop {
        let (before, left) = (out.len(), decoder.get_ref().rest.len());
        // Growing by doubling would copy megabytes within one slice. One body of a worker has the turn.
        if slices.has_turn() && out.capacity() < most {
            out.reserve_exact(most - before);
        }
        decoder.get_mut().ration = slices.size() / READ_COST;
        let mut slice = decoder.by_ref().take(slices.size() as u64);
        let is_paused = match slice.read_to_end(&mut out) {
            Ok(_) => false,
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            Err(_) => return Err(damaged()),
        };
        let inflated = out.len() - before;
        // Code tables take long to read and produce no output.
        let read = left - decoder.get_ref().rest.len();
        cost::count(inflated + read);
        share.grow(inflated)?;
        if out.len() > most {
            let detail = match by_ratio < by_size {
                true => format!(
                    "the body inflates to more than {RATIO_MAX} times its size; send less repetitive batches, or send them uncompressed"
                ),
                false => format!(
                    "the body inflates to more than {by_size} bytes, {INFLATED_TIMES_MAX} times limits.body_bytes; send smaller batches"
                ),
            };
            return Err(Refusal::because(DenyReason::BodyTooLarge, detail));
        }
        if inflated == 0 && !is_paused {
            break;
        }
        slices.done(inflated + read * READ_COST).await?;
    }
    if decoder.into_inner().rest.is_empty() {
        Ok(out)
    } else {
        Err(damaged())
    }
}

fn damaged() -> Refusal {
    Refusal::because(
        DenyReason::BodyInvalid,
        "the body is not one complete gzip member; send one, or send the body uncompressed",
    )
}

/// What reading a compressed byte costs at most, in bytes that could have been scanned meanwhile.
const READ_COST: usize = 8;

/// Bytes that are handed out in rations; the reader has to ask for each.
struct Rationed<'b> {
    rest: &'b [u8],
    ration: usize,
}

impl<'b> Rationed<'b> {
    fn of(bytes: &'b [u8]) -> Self {
        Self {
            rest: bytes,
            ration: 0,
        }
    }
}

impl BufRead for Rationed<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.rest.get(..self.ration) {
            Some([]) => Err(ErrorKind::WouldBlock.into()),
            Some(ration) => Ok(ration),
            None => Ok(self.rest),
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
        self.ration = self.ration.saturating_sub(bytes);
    }
}

impl Read for Rationed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}
