//! SHA-256 digests that stand in for secrets and keys of the hot indexes.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256, digest};

/// The SHA-256 digest of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0_u8; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// A SHA-256 digest over a sequence of texts and numbers. Each is framed, so none can pass for a part of another.
pub struct Chain(Context);

impl Chain {
    /// Begins a digest for one purpose, so that those of two purposes never agree.
    #[must_use]
    pub fn new(purpose: &str) -> Self {
        let mut chain = Self(Context::new(&SHA256));
        chain.text(Some(purpose));
        chain
    }

    /// Adds a text, or that there is none, which differs from an empty one.
    pub fn text(&mut self, text: Option<&str>) {
        self.0.update(&[u8::from(text.is_some())]);
        let text = text.unwrap_or_default();
        self.0.update(&(text.len() as u64).to_be_bytes());
        self.0.update(text.as_bytes());
    }

    /// Adds a number.
    pub fn number(&mut self, number: i64) {
        self.0.update(&number.to_be_bytes());
    }

    /// The digest.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0_u8; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

/// The first 128 bits of a SHA-256 digest, used as the key of the gateway's indexes.
///
/// 128 bits make a second preimage (another write key or token id with this digest) a matter of
/// 2^128 tries; half the bytes keep two entries of an index in one cache line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortDigest([u64; 2]);

impl ShortDigest {
    /// Digests `parts` under a domain name, so that a write key and a token id with equal bytes differ.
    #[must_use]
    pub fn of(domain: &str, parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(domain.as_bytes());
        for part in parts {
            // The length in front of each part keeps ("ab", "c") apart from ("a", "bc").
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut short = [0_u8; 16];
        for (to, from) in short.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        Self::from_bytes(short)
    }

    /// A digest read back from its wire form.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let bits = u128::from_be_bytes(bytes);
        // Two words, since a `u128` would ask for an alignment of 16 and widen every entry of an index.
        Self([(bits >> 64) as u64, bits as u64])
    }

    /// The digest as one number, its first byte on top.
    #[must_use]
    pub const fn bits(self) -> u128 {
        (self.0[0] as u128) << 64 | self.0[1] as u128
    }

    /// The 16 bytes, for the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.bits().to_be_bytes()
    }
}

impl fmt::Debug for ShortDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Enough to tell two apart in a test's failure, too little to look one up.
        write!(f, "ShortDigest({:04x}..)", self.0[0] >> 48)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_domains_are_kept_apart() {
        let one = ShortDigest::of("a", &[b"ab", b"c"]);
        assert_ne!(one, ShortDigest::of("a", &[b"a", b"bc"]));
        assert_ne!(one, ShortDigest::of("b", &[b"ab", b"c"]));
        assert_eq!(one, ShortDigest::of("a", &[b"ab", b"c"]));
    }
}
