//! Networks: an address and the length of the prefix that its neighbours share (RFC 4632, RFC 4291 section 2.3).

use std::fmt;
use std::net::IpAddr;

use cidr::errors::NetworkParseError;
use cidr::{IpCidr, IpInet};
use thiserror::Error;

use super::decimal::canonical;

/// The prefix of an IPv6 address that is one customer: its holder may use every address within it.
const IPV6_CUSTOMER_BITS: u8 = 64;

/// Why a text is not a network.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidNetwork {
    #[error("is not an address or a network")]
    Form,
    #[error("has a prefix longer than its address")]
    Prefix,
    #[error("has bits set behind its prefix")]
    HostBits,
}

/// All the addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpCidr);

impl Network {
    /// Reads `10.0.0.0/8` or `fd00::/8`; an address alone is the network of that one address.
    ///
    /// # Errors
    /// [`InvalidNetwork`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| InvalidNetwork::Form)?;
        let network = match prefix {
            None => Ok(IpCidr::new_host(first)),
            Some(text) => IpCidr::new(first, canonical(text).ok_or(InvalidNetwork::Form)?),
        };
        network.map(Self).map_err(|error| match error {
            NetworkParseError::InvalidHostPart => InvalidNetwork::HostBits,
            _ => InvalidNetwork::Prefix,
        })
    }

    /// Whether `address` is in the network. An IPv4 address inside IPv6 (`::ffff:10.0.0.1`) counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether the network is larger than the largest private ones, 10.0.0.0/8 and fc00::/7 (RFC 1918, RFC 4193).
    #[must_use]
    pub fn is_wide(&self) -> bool {
        let least = if self.0.is_ipv4() { 8 } else { 7 };
        self.0.network_length() < least
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.first_address(), self.0.network_length())
    }
}

/// What limits count an address as: itself, or for IPv6 the 64 bits that its holder cannot choose.
#[must_use]
pub fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address @ IpAddr::V4(_) => address,
        address @ IpAddr::V6(_) => masked(address, IPV6_CUSTOMER_BITS),
    }
}

/// Prefixes of the blocks that a queue is shared out by, from wide to narrow. Providers give IPv6 customers a /48, /56
/// or /64; a /32 is one provider.
const IPV6_BLOCKS: [u8; 4] = [32, 48, 56, 64];

/// The same of IPv4.
const IPV4_BLOCKS: [u8; 4] = [8, 16, 24, 32];

/// The blocks that an address is in, from the widest to its [`neighbourhood`]: /32, /48, /56 and /64 of IPv6; /8, /16,
/// /24 and /32 of IPv4.
#[must_use]
pub fn blocks(address: IpAddr) -> [IpAddr; 4] {
    let address = address.to_canonical();
    let prefixes = match address {
        IpAddr::V4(_) => IPV4_BLOCKS,
        IpAddr::V6(_) => IPV6_BLOCKS,
    };
    prefixes.map(|prefix| masked(address, prefix))
}

/// Whether anybody on the internet could have this address: not loopback, private, link-local, shared,
/// documentation, multicast, nor one that leads back to such an address inside another (RFC 6890).
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            let special = address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_documentation()
                || a == 0
                || a >= 224
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b));
            !special
        }
        IpAddr::V6(address) => {
            let [a, b, ..] = address.segments();
            // Only 2000::/3 is global; in it 2001::/23 (Teredo and others), documentation and 6to4 are not for us.
            (a & 0xe000) == 0x2000
                && !(a == 0x2001 && (b < 0x200 || b == 0xdb8))
                && a != 0x2002
                && a != 0x3fff
        }
    }
}

/// The address with the bits behind the prefix cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    IpInet::new(address, prefix).map_or(address, |network| network.first_address())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("fd00::/8", "fdff::1", "fe00::"),
            ("::/0", "2001:db8::1", "127.0.0.1"),
            ("::1", "::1", "::2"),
        ] {
            let network = Network::parse(network).unwrap();
            assert!(network.contains(address(inside)), "{network} {inside}");
            assert!(!network.contains(address(outside)), "{network} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_for_its_reason() {
        for (text, problem) in [
            ("", InvalidNetwork::Form),
            ("10.0.0", InvalidNetwork::Form),
            ("10.0.0.0/", InvalidNetwork::Form),
            ("10.0.0.0/-1", InvalidNetwork::Form),
            ("10.0.0.0/+8", InvalidNetwork::Form),
            ("10.0.0.0/08", InvalidNetwork::Form),
            ("10.0.0.0/33", InvalidNetwork::Prefix),
            ("::/129", InvalidNetwork::Prefix),
            ("10.0.0.1/8", InvalidNetwork::HostBits),
        ] {
            assert_eq!(Network::parse(text), Err(problem), "{text}");
        }
    }

    #[test]
    fn an_ipv6_customer_counts_as_one() {
        assert_eq!(
            neighbourhood(address("2001:db8:1:2:3:4:5:6")),
            address("2001:db8:1:2::")
        );
        assert_eq!(neighbourhood(address("::ffff:192.0.2.1")), address("192.0.2.1"));
        assert_eq!(neighbourhood(address("192.0.2.1")), address("192.0.2.1"));
    }

    #[test]
    fn blocks_go_from_the_provider_to_the_customer() {
        for (text, expected) in [
            (
                "2001:db8:1:2ff:4:5:6:7",
                [
                    "2001:db8::",
                    "2001:db8:1::",
                    "2001:db8:1:200::",
                    "2001:db8:1:2ff::",
                ],
            ),
            ("192.0.2.1", ["192.0.0.0", "192.0.0.0", "192.0.2.0", "192.0.2.1"]),
            (
                "::ffff:192.0.2.1",
                ["192.0.0.0", "192.0.0.0", "192.0.2.0", "192.0.2.1"],
            ),
        ] {
            assert_eq!(blocks(address(text)), expected.map(address), "{text}");
        }
        let narrow = neighbourhood(address("2001:db8::7"));
        assert_eq!(blocks(address("2001:db8::7")).last(), Some(&narrow));
    }

    #[test]
    fn addresses_that_lead_inwards_are_not_public() {
        for inward in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "fc00::1",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2001::1",
        ] {
            assert!(!is_public(address(inward)), "{inward}");
        }
        for public in [
            "1.1.1.1",
            "93.184.216.34",
            "2606:2800:220:1::1",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(address(public)), "{public}");
        }
    }
}
