//! The PROXY protocol, versions 1 and 2: a load balancer's first bytes, which name the client that it forwards.
//!
//! Read below TLS, within a bound of bytes and time. What follows the header in the same segment is kept.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use ppp::{v1, v2};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::buffered::Buffered;

/// The longest version 1 header, its line end included.
const V1_BYTES_MAX: usize = 107;

/// How every version 1 header begins.
const V1_PREFIX: &[u8] = b"PROXY ";

/// The part of a version 2 header before its addresses.
const V2_HEAD_BYTES: usize = 16;

/// The longest version 2 header that is accepted, its TLVs included. A certificate in a TLV fits.
const V2_BYTES_MAX: usize = 8 << 10;

/// Why a connection has no usable PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyHeaderError {
    /// It is missing, malformed or too long, or describes something other than a TCP connection.
    Malformed,
    /// It did not arrive in time, or the connection ended before it did.
    Incomplete,
}

/// Reads the header. Returns the connection, and the client that the header names: none for a connection of the
/// proxy's own, such as a health check (`LOCAL`, `UNKNOWN`, `UNSPEC`).
///
/// # Errors
/// [`ProxyHeaderError`]; the connection must be closed.
pub(crate) async fn read(
    mut stream: TcpStream,
    within: Duration,
) -> Result<(Buffered, Option<SocketAddr>), ProxyHeaderError> {
    let mut bytes = BytesMut::with_capacity(512);
    let reading = async {
        loop {
            if let Some(length) = length(&bytes)? {
                return Ok(length);
            }
            match stream.read_buf(&mut bytes).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Err(ProxyHeaderError::Incomplete),
            }
        }
    };
    let reading = tokio::time::timeout(within, reading).await;
    let length = reading.unwrap_or(Err(ProxyHeaderError::Incomplete))?;
    let client = client(bytes.get(..length).unwrap_or_default())?;
    bytes.advance(length);
    Ok((Buffered::with_read(stream, bytes.freeze()), client))
}

/// The length of the header that begins `bytes`; none as long as more bytes are needed to tell.
fn length(bytes: &[u8]) -> Result<Option<usize>, ProxyHeaderError> {
    let begins = |prefix: &[u8]| bytes.iter().zip(prefix).all(|(found, wanted)| found == wanted);
    let (length, max) = if begins(v2::PROTOCOL_PREFIX) {
        let Some([high, low]) = bytes.get(V2_HEAD_BYTES - 2..V2_HEAD_BYTES) else {
            return Ok(None);
        };
        let rest = usize::from(u16::from_be_bytes([*high, *low]));
        (V2_HEAD_BYTES + rest, V2_BYTES_MAX)
    } else if begins(V1_PREFIX) {
        let within = bytes.get(..V1_BYTES_MAX).unwrap_or(bytes);
        match memchr::memmem::find(within, b"\r\n") {
            Some(end) => (end + 2, V1_BYTES_MAX),
            None if bytes.len() < V1_BYTES_MAX => return Ok(None),
            None => return Err(ProxyHeaderError::Malformed),
        }
    } else {
        return Err(ProxyHeaderError::Malformed);
    };
    match length {
        _ if length > max => Err(ProxyHeaderError::Malformed),
        _ if length > bytes.len() => Ok(None),
        _ => Ok(Some(length)),
    }
}

/// The client that a whole header names.
fn client(header: &[u8]) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    if header.starts_with(V1_PREFIX) {
        let header = v1::Header::try_from(header).map_err(|_| ProxyHeaderError::Malformed)?;
        return Ok(match header.addresses {
            v1::Addresses::Unknown => None,
            v1::Addresses::Tcp4(ip) => Some(address(ip.source_address, ip.source_port)),
            v1::Addresses::Tcp6(ip) => Some(address(ip.source_address, ip.source_port)),
        });
    }
    let header = v2::Header::try_from(header).map_err(|_| ProxyHeaderError::Malformed)?;
    match (header.command, header.protocol, header.addresses) {
        (v2::Command::Local, _, _)
        | (_, v2::Protocol::Unspecified, _)
        | (_, _, v2::Addresses::Unspecified) => Ok(None),
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv4(ip)) => {
            Ok(Some(address(ip.source_address, ip.source_port)))
        }
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv6(ip)) => {
            Ok(Some(address(ip.source_address, ip.source_port)))
        }
        _ => Err(ProxyHeaderError::Malformed),
    }
}

fn address(ip: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(ip.into().to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = v2::PROTOCOL_PREFIX.to_vec();
        header.extend([0x20 | command, family]);
        header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        header.extend(rest);
        header
    }

    const IPV4: [u8; 12] = [203, 0, 113, 9, 192, 0, 2, 1, 0x10, 0, 1, 0xbb];

    #[test]
    fn headers_of_both_versions_name_their_client() {
        let ipv6 = |mapped: bool| {
            let mut address = [0_u8; 36];
            if mapped {
                address[10..12].copy_from_slice(&[255, 255]);
                address[12..16].copy_from_slice(&[203, 0, 113, 9]);
            } else {
                address[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
            }
            address
        };
        let tlv = [&IPV4[..], &[0x04, 0, 1, 0]].concat();
        for (header, expected) in [
            (
                b"PROXY TCP4 203.0.113.9 192.0.2.1 4096 443\r\n".to_vec(),
                Some("203.0.113.9:4096"),
            ),
            (
                b"PROXY TCP6 2001:db8::9 2001:db8::1 1 443\r\n".to_vec(),
                Some("[2001:db8::9]:1"),
            ),
            (
                b"PROXY TCP6 ::ffff:203.0.113.9 ::1 1 443\r\n".to_vec(),
                Some("203.0.113.9:1"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN anything at all\r\n".to_vec(), None),
            (v2(1, 0x11, &IPV4), Some("203.0.113.9:4096")),
            (v2(1, 0x11, &tlv), Some("203.0.113.9:4096")),
            (v2(1, 0x21, &ipv6(false)), Some("[2001:db8::]:0")),
            (v2(1, 0x21, &ipv6(true)), Some("203.0.113.9:0")),
            (v2(0, 0x00, &[]), None),
            (v2(0, 0x11, &IPV4), None),
            (v2(1, 0x00, &[]), None),
            (v2(1, 0x00, &[1, 2, 3]), None),
        ] {
            assert_eq!(length(&header), Ok(Some(header.len())), "{header:?}");
            let expected = expected.map(|text| text.parse::<SocketAddr>().unwrap());
            assert_eq!(client(&header), Ok(expected), "{header:?}");
            for cut in 0..header.len() {
                assert_eq!(length(&header[..cut]), Ok(None), "{cut} bytes of {header:?}");
            }
            let followed = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(length(&followed), Ok(Some(header.len())), "{header:?}");
        }
    }

    #[test]
    fn malformed_headers_are_rejected() {
        for header in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PROXY\r\n".to_vec(),
            b"PROXY TCP4\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 192.0.2.1 4096 65536\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::9 192.0.2.1 1 443\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 192.0.2.1 4096 443 \r\n".to_vec(),
            b"PROXY tcp4 203.0.113.9 192.0.2.1 4096 443\r\n".to_vec(),
            b"PROXY UDP4 203.0.113.9 192.0.2.1 4096 443\r\n".to_vec(),
            format!("PROXY UNKNOWN {}\r\n", "a".repeat(V1_BYTES_MAX)).into_bytes(),
            format!("PROXY UNKNOWN {}", "a".repeat(V1_BYTES_MAX)).into_bytes(),
            v2(1, 0x12, &IPV4),
            v2(1, 0x31, &[0; 216]),
            v2(1, 0x11, &IPV4[..8]),
            v2(2, 0x11, &IPV4),
            v2(1, 0x41, &IPV4),
            v2(1, 0x11, &vec![0; V2_BYTES_MAX]),
            b"\x16\x03\x01\x02\x00".to_vec(),
        ] {
            let read = length(&header).and_then(|length| client(&header[..length.unwrap()]));
            assert_eq!(read, Err(ProxyHeaderError::Malformed), "{header:?}");
        }
    }
}
