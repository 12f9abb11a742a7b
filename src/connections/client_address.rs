//! Whose address a request counts for: the peer, or the client that a trusted proxy names in `X-Forwarded-For`.

use std::net::IpAddr;

use http::HeaderMap;

use crate::domain::network::Network;

/// The header in which each proxy appends the address of its peer.
pub const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The most entries of `X-Forwarded-For` that are read, from the right. More trusted proxies in a row do not exist.
const HOPS_MAX: usize = 128;

/// Whether an address is one of the trusted proxies.
#[must_use]
pub fn is_trusted(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// The peer's own address; where the peer is one of `trusted`, the rightmost address in `X-Forwarded-For` that is not.
///
/// Entries farther left may come from the client itself. An entry that is no address, such as `unknown`, ends the
/// search at the proxy that wrote it. IPv4 inside IPv6 counts as IPv4.
#[must_use]
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let mut nearest = peer.to_canonical();
    if !is_trusted(nearest, trusted) {
        return nearest;
    }
    let values = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let hops = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    for hop in hops.take(HOPS_MAX) {
        let Some(address) = hop_address(hop.trim()) else {
            break;
        };
        nearest = address;
        if !is_trusted(address, trusted) {
            break;
        }
    }
    nearest
}

/// An address as proxies write it: alone, with a port, or in brackets.
fn hop_address(text: &str) -> Option<IpAddr> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(peer: &str, forwarded: &[&str]) -> IpAddr {
        let proxies = ["10.0.0.0/8", "fd00::/8"].map(|text| Network::parse(text).unwrap());
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value.parse().unwrap());
        }
        client_address(peer.parse().unwrap(), &headers, &proxies)
    }

    #[test]
    fn address_is_taken_from_trusted_proxies_only() {
        for (peer, forwarded, expected) in [
            ("192.0.2.1", &["198.51.100.1"][..], "192.0.2.1"),
            ("::ffff:192.0.2.1", &[], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            // What the client wrote itself stands to the left of what the proxies saw.
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, 10.9.9.9"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, ::ffff:10.9.9.9"], "198.51.100.1"),
            ("10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1:443"], "198.51.100.1"),
            ("fd00::1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("fd00::1", &["[2001:db8::1]"], "2001:db8::1"),
            ("fd00::1", &["2001:db8::1"], "2001:db8::1"),
            ("10.0.0.1", &["198.51.100.1, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["unknown, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, 10.0.0.2, "], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ] {
            let expected: IpAddr = expected.parse().unwrap();
            assert_eq!(resolved(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn a_long_chain_is_read_from_the_right_within_its_bound() {
        let chain = |trusted: usize| format!("203.0.113.9{}", ", 10.0.0.2".repeat(trusted));
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(resolved("10.0.0.1", &[&chain(99)]), address("203.0.113.9"));
        assert_eq!(
            resolved("10.0.0.1", &[&chain(HOPS_MAX - 1)]),
            address("203.0.113.9")
        );
        assert_eq!(resolved("10.0.0.1", &[&chain(HOPS_MAX)]), address("10.0.0.2"));
        let claimed = format!("{}198.51.100.1", "1.1.1.1, ".repeat(3_000));
        assert_eq!(resolved("10.0.0.1", &[&claimed]), address("198.51.100.1"));
    }
}
