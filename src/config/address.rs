//! Addresses as `host:port`: to listen on, or of a server. What the operating system would refuse is refused here.

use std::net::{IpAddr, SocketAddr};

use serde_saphyr::Spanned;

use super::check::Check;
use super::shown::shown;
use crate::domain::decimal::digits;

/// The longest host name (RFC 1035 section 2.3.4) and label of one, in bytes.
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

impl Check<'_> {
    /// An address to listen on. Port 0 takes any free port.
    pub(super) fn listen_address(&mut self, raw: &Spanned<String>) -> Option<String> {
        let address = self.host_and_port(
            raw,
            "write host:port, such as 127.0.0.1:8080, or 0.0.0.0:8080 for every address",
        )?;
        self.listens.push((address.clone(), raw.referenced));
        Some(address)
    }

    /// The address of a server.
    pub(super) fn server_address(&mut self, raw: &Spanned<String>) -> Option<String> {
        let address = self.host_and_port(
            raw,
            "write host:port, such as 192.0.2.1:8080, without a scheme; `tls:` turns TLS on",
        )?;
        if address.ends_with(":0") {
            self.problem(
                raw.referenced,
                format!("`{}` has port 0, which no server has", shown(raw)),
                "write the port that the server listens on",
            );
        }
        Some(address)
    }

    fn host_and_port(&mut self, raw: &Spanned<String>, hint: &str) -> Option<String> {
        let text = self.text(raw)?;
        let is_address = text
            .rsplit_once(':')
            .is_some_and(|(host, port)| is_host(host) && digits::<u16>(port).is_some());
        if is_address {
            return Some(text);
        }
        self.problem(
            raw.referenced,
            format!("`{}` is not an address", shown(raw)),
            hint,
        );
        None
    }

    /// Refuses listeners that would take each other's port.
    pub(super) fn repeated_listeners(&mut self) {
        let listens = std::mem::take(&mut self.listens);
        for (at, (address, place)) in listens.iter().enumerate() {
            let earlier = listens
                .iter()
                .take(at)
                .find(|(other, _)| is_same_port(other, address));
            if let Some((other, first)) = earlier {
                self.problem(
                    *place,
                    format!(
                        "`{address}` is taken by the listener `{other}` on line {}",
                        first.line()
                    ),
                    "give each listener its own address or port",
                );
            }
        }
    }
}

/// Whether a text is an IPv4 address, an IPv6 address in brackets, or a host name.
pub(super) fn is_host(host: &str) -> bool {
    if let Some(bare) = host.strip_prefix('[') {
        let bare = bare.strip_suffix(']');
        return bare.is_some_and(|bare| bare.parse::<std::net::Ipv6Addr>().is_ok());
    }
    // Digits and dots are meant as an IPv4 address, and no name.
    if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return host.parse::<std::net::Ipv4Addr>().is_ok();
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= NAME_MAX && name.split('.').all(is_label)
}

/// Whether the operating system would refuse the second of two listeners.
fn is_same_port(one: &str, other: &str) -> bool {
    let (Some((host, port)), Some((other_host, other_port))) = (one.rsplit_once(':'), other.rsplit_once(':'))
    else {
        return false;
    };
    let (port, other_port) = (digits::<u16>(port), digits::<u16>(other_port));
    if port != other_port || port == Some(0) {
        return false;
    }
    let ip = |host: &str| match host.eq_ignore_ascii_case("localhost") {
        true => Some(IpAddr::from([127, 0, 0, 1])),
        false => format!("{host}:0")
            .parse::<SocketAddr>()
            .ok()
            .map(|address| address.ip()),
    };
    match (ip(host), ip(other_host)) {
        (Some(one), Some(other)) => {
            // `::` takes IPv4, too.
            let covers = |wide: IpAddr, narrow: IpAddr| {
                wide.is_unspecified() && (wide.is_ipv6() || wide.is_ipv4() == narrow.is_ipv4())
            };
            one == other || covers(one, other) || covers(other, one)
        }
        _ => host.eq_ignore_ascii_case(other_host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_or_names() {
        for good in [
            "127.0.0.1",
            "[::1]",
            "localhost",
            "a-b.example.com",
            "a.example.com.",
            "db_1",
            "1a.example",
        ] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            "*",
            "300.1.1.1",
            "1.2.3",
            "::1",
            "[::1",
            "[1.2.3.4]",
            "http://a",
            "a b",
            "a..b",
            "u@h",
            ".",
            "a/b",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
        assert!(!is_host(&"a".repeat(64)));
    }

    #[test]
    fn listeners_on_one_port_are_found() {
        for (one, other, same) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("localhost:80", "127.0.0.1:80", true),
            ("a.test:80", "A.test:80", true),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            assert_eq!(is_same_port(one, other), same, "{one} {other}");
            assert_eq!(is_same_port(other, one), same, "{other} {one}");
        }
    }
}
