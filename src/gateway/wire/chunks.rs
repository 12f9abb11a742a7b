//! Chunked bodies of requests (RFC 9112 section 7.1), without extensions and trailers.
//!
//! Neither would reach an upstream. But a request is rejected if its client and its upstream could disagree about its
//! end.

use bytes::{Buf as _, BytesMut};

use crate::domain::cost;

/// The most digits of a chunk's size: 4 GiB, far above any body that is held.
const SIZE_DIGITS_MAX: u8 = 8;

/// Decodes one chunked body.
#[derive(Debug)]
pub struct Chunks {
    framing: Framing,
}

/// Where in the framing the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Size {
        digits: u8,
        size: u32,
    },
    SizeLf {
        size: u32,
    },
    Data {
        left: u32,
    },
    DataCr,
    DataLf,
    LastCr,
    LastLf,
    /// Behind the body's end.
    Over,
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            framing: Framing::BEGIN,
        }
    }
}

impl Chunks {
    /// Whether the body has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.framing == Framing::Over
    }

    /// Moves the content of chunks from `read` to the end of `into`, at most `most` bytes, and no byte behind the body's
    /// end. `None` where the bytes are not plain chunks.
    #[must_use]
    pub fn decode(&mut self, read: &mut BytesMut, into: &mut BytesMut, most: usize) -> Option<()> {
        let (mut rest, mut room) = (&read[..], most);
        while let Some((byte, behind)) = rest.split_first() {
            match self.framing {
                Framing::Over => break,
                Framing::Data { left } => {
                    let now = rest.len().min(usize::try_from(left).ok()?).min(room);
                    if now == 0 {
                        break;
                    }
                    let (data, behind) = rest.split_at_checked(now)?;
                    into.extend_from_slice(data);
                    (rest, room) = (behind, room - now);
                    self.framing = match left.checked_sub(u32::try_from(now).ok()?)? {
                        0 => Framing::DataCr,
                        left => Framing::Data { left },
                    };
                }
                framing => {
                    self.framing = framing.behind(*byte)?;
                    rest = behind;
                }
            }
        }
        let consumed = read.len() - rest.len();
        cost::count(consumed);
        read.advance(consumed);
        Some(())
    }
}

impl Framing {
    const BEGIN: Self = Self::Size { digits: 0, size: 0 };

    /// Where it is behind a byte that is no content. `None` where the byte may not stand there.
    fn behind(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Size { digits: 1.., size }, b'\r') => Self::SizeLf { size },
            (Self::Size { digits, size }, byte) if digits < SIZE_DIGITS_MAX => Self::Size {
                digits: digits + 1,
                size: size << 4 | char::from(byte).to_digit(16)?,
            },
            (Self::SizeLf { size: 0 }, b'\n') => Self::LastCr,
            (Self::SizeLf { size }, b'\n') => Self::Data { left: size },
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::BEGIN,
            (Self::LastCr, b'\r') => Self::LastLf,
            (Self::LastLf, b'\n') => Self::Over,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]], most: usize) -> Option<(Chunks, Vec<u8>, Vec<u8>)> {
        let (mut chunks, mut read, mut body) = (Chunks::default(), BytesMut::new(), BytesMut::new());
        for piece in pieces {
            read.extend_from_slice(piece);
            let mut before = usize::MAX;
            while before != read.len() {
                before = read.len();
                chunks.decode(&mut read, &mut body, most)?;
            }
        }
        Some((chunks, body.to_vec(), read.to_vec()))
    }

    #[test]
    fn chunked_body_ends_where_it_ends_wherever_reads_end() {
        let whole = b"5\r\nhello\r\n0A\r\n0123456789\r\n0\r\n\r\nnext";
        for cut in 0..whole.len() {
            for most in [1, 3, 100] {
                let (one, other) = whole.split_at(cut);
                let (chunks, body, behind) = decode(&[one, other], most).unwrap();
                assert!(chunks.is_over(), "{cut}");
                assert_eq!(body, b"hello0123456789");
                assert_eq!(behind, b"next", "{cut}");
            }
        }
    }

    #[test]
    fn decoding_stops_at_the_room_that_there_is() {
        let (mut chunks, mut body) = (Chunks::default(), BytesMut::new());
        let mut read = BytesMut::from(b"5\r\nhello\r\n0\r\n\r\n".as_slice());
        chunks.decode(&mut read, &mut body, 3).unwrap();
        assert_eq!((&body[..], &read[..2]), (b"hel".as_slice(), b"lo".as_slice()));
    }

    #[test]
    fn chunk_extensions_and_trailers_are_rejected() {
        for bad in [
            "5;ext=1\r\n",
            "5 \r\n",
            " 5\r\n",
            "+5\r\n",
            "0x5\r\n",
            "\r\n",
            "5\n",
            "5\r\r",
            "000000005\r\n",
            "5\r\nhelloX",
            "5\r\nhello\n",
            "0\r\nX: trailer\r\n\r\n",
            "0\r\n\n",
            "g\r\n",
        ] {
            assert!(decode(&[bad.as_bytes()], 100).is_none(), "{bad:?}");
        }
    }
}
