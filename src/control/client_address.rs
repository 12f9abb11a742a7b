//! The address of a client, behind trusted proxies or not.

use crate::domain::network::Network;
use http::Extensions;
use http::HeaderMap;
use std::net::IpAddr;
use std::net::Ipv6Addr;

/// Entries of `X-Forwarded-For` looked at, from the nearest on.
pub(crate) const HOPS_MAX: usize = 16;

/// Where a request came from, as far as we believe it. Every request has one among its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The one of a request. Where it is missing all against the contract, the request shares the limits of nowhere.
    #[must_use]
    pub fn in_extensions(extensions: &Extensions) -> Self {
        let nowhere = Self(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        extensions.get().copied().unwrap_or(nowhere)
    }

    /// The peer's own address, or, where the peer is one of `trusted`, the nearest address in
    /// `X-Forwarded-For` that is not. What stands farther away in it, the client may have written itself.
    #[must_use]
    pub fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> Self {
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
        let mut nearest = peer.to_canonical();
        if !is_trusted(nearest) {
            return Self(nearest);
        }
        let values = headers.get_all("x-forwarded-for").iter().rev();
        let hops = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
        for hop in hops.take(HOPS_MAX) {
            let Some(address) = hop_address(hop.trim()) else {
                break;
            };
            nearest = address;
            if !is_trusted(address) {
                break;
            }
        }
        Self(nearest)
    }
}

/// An address as proxies write it: alone, with a port, or in brackets.
pub(crate) fn hop_address(text: &str) -> Option<IpAddr> {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map(|(address, _)| address);
    let address = match (bracketed, text.split_once(':')) {
        (Some(address), _) => address,
        // One colon: a port. IPv6 has at least two.
        (None, Some((address, port))) if !port.contains(':') => address,
        _ => text,
    };
    address.parse().ok().map(|address: IpAddr| address.to_canonical())
}
