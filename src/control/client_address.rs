//! The address that a request counts for, kept among its extensions.

use std::net::{IpAddr, Ipv6Addr};

use http::{Extensions, HeaderMap};

use crate::connections::client_address;
use crate::domain::network::Network;

/// The resolved address of a client. Every request has one among its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The address of a request. A request without one, which is a bug, shares the limits of `::`.
    #[must_use]
    pub fn in_extensions(extensions: &Extensions) -> Self {
        let nowhere = Self(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        extensions.get().copied().unwrap_or(nowhere)
    }

    /// The address of the client behind `peer`: see [`client_address`].
    #[must_use]
    pub fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> Self {
        Self(client_address(peer, headers, trusted))
    }
}
