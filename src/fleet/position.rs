//! A point in the history of the policy: how many changes, and which ones.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::domain::digest::Chain;

/// The SHA-256 digest over all changes up to a version. Two databases that share a version but not its changes differ
/// in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyChain([u8; 32]);

/// A text that is no position.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("is no policy position, which is VERSION.CHAIN")]
pub struct InvalidPosition;

impl PolicyChain {
    /// The chain before the first change.
    pub const EMPTY: Self = Self([0; 32]);

    /// The chain after one more change: `body` is what gateways receive of it.
    #[must_use]
    pub fn after(self, version: u64, body: &str) -> Self {
        let mut chain = Chain::new("portcullis policy change");
        chain.text(Some(&URL_SAFE_NO_PAD.encode(self.0)));
        chain.number(i64::try_from(version).unwrap_or(i64::MAX));
        chain.text(Some(body));
        Self(chain.finish())
    }
}

impl FromStr for PolicyChain {
    type Err = InvalidPosition;

    /// Reads 43 characters of base64url, or an empty text for [`PolicyChain::EMPTY`].
    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        if text.is_empty() {
            return Ok(Self::EMPTY);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidPosition)?;
        Ok(Self(bytes.try_into().map_err(|_| InvalidPosition)?))
    }
}

impl fmt::Display for PolicyChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::EMPTY {
            return Ok(());
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PolicyChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyChain({self})")
    }
}

/// A version together with the chain that leads to it. As text, `VERSION.CHAIN`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    pub version: u64,
    pub chain: PolicyChain,
}

impl Position {
    /// Before the first change.
    pub const START: Self = Self {
        version: 0,
        chain: PolicyChain::EMPTY,
    };
}

/// What a control plane tells its edges besides the feed: the issuer of its own tokens and their audience.
#[derive(Clone, Copy, Debug)]
pub struct FleetIdentity([u8; 32]);

impl FleetIdentity {
    /// The identity of control planes with this issuer and audience.
    #[must_use]
    pub fn of(issuer: &str, audience: &str) -> Self {
        let mut chain = Chain::new("portcullis fleet identity");
        chain.text(Some(issuer));
        chain.text(Some(audience));
        Self(chain.finish())
    }
}

impl Position {
    /// The position as edges name it, from the store's, and the store's from theirs. An edge that was fed under another
    /// identity names a position that the store does not have, and so gets a snapshot.
    #[must_use]
    pub fn bound_to(self, identity: FleetIdentity) -> Self {
        let mut chain = self.chain.0;
        for (byte, mask) in chain.iter_mut().zip(identity.0) {
            *byte ^= mask;
        }
        Self {
            chain: PolicyChain(chain),
            ..self
        }
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (version, chain) = text.split_once('.').ok_or(InvalidPosition)?;
        if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidPosition);
        }
        Ok(Self {
            version: version.parse().map_err(|_| InvalidPosition)?,
            chain: chain.parse()?,
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.version, self.chain)
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_is_read_as_it_is_written() {
        let one = PolicyChain::EMPTY.after(1, "[]");
        let position = Position {
            version: 1,
            chain: one,
        };
        assert_eq!(position.to_string().parse(), Ok(position));
        assert_eq!("0.".parse(), Ok(Position::START));
        for wrong in ["", "1", "x.", "+1.", "1.!", "1.AAAA"] {
            assert_eq!(wrong.parse::<Position>(), Err(InvalidPosition), "{wrong}");
        }
    }

    #[test]
    fn position_bound_to_another_identity_is_not_the_stores() {
        let stored = Position {
            version: 1,
            chain: PolicyChain::EMPTY.after(1, "[]"),
        };
        let (one, other) = (
            FleetIdentity::of("https://one.test", "a"),
            FleetIdentity::of("https://other.test", "a"),
        );
        for position in [stored, Position::START] {
            assert_eq!(position.bound_to(one).bound_to(one), position);
            assert_ne!(position.bound_to(one).bound_to(other), position);
        }
    }

    #[test]
    fn chain_differs_with_any_change_before_it() {
        let (one, other) = (
            PolicyChain::EMPTY.after(1, "[1]"),
            PolicyChain::EMPTY.after(1, "[2]"),
        );
        assert_ne!(one, other);
        assert_ne!(one.after(2, "[]"), other.after(2, "[]"));
        assert_ne!(one.after(2, "[]"), one.after(3, "[]"));
    }
}
