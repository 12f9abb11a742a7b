//! Health checks: a connection to a server, or a request that must get status 200.

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, USER_AGENT};
use http::{Method, StatusCode, Version};
use pingora_error::BError;
use pingora_http::RequestHeader;
use pingora_timeout::timeout;

use super::connection::{Connection, Head, absolute_uri};
use super::failure::Failure;
use crate::config::HealthCheck;

const AGENT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));

/// Probes a server once, on the connection that `connecting` makes, all within the check's time.
///
/// # Errors
/// [`Failure`] says what is wrong with the server.
pub(super) async fn probe(
    connecting: impl Future<Output = Result<Connection, Failure>>,
    check: &HealthCheck,
) -> Result<(), Failure> {
    let probing = async {
        let mut connection = connecting.await?;
        let Some(path) = &check.path else {
            return Ok(());
        };
        let host = check.host.as_deref().unwrap_or_else(|| connection.host());
        let head = match connection.is_http2() {
            true => Head::Http2(Box::new(http2_head(path, host, connection.is_tls())?)),
            false => Head::Http1(http1_head(path, host)),
        };
        connection.send(head, &Bytes::new()).await?;
        let head = connection.final_head(&Method::GET).await?;
        match head.status {
            StatusCode::OK => Ok(()),
            status => Err(Failure::Status(status.as_u16())),
        }
    };
    timeout(check.timeout, probing)
        .await
        .unwrap_or(Err(Failure::ResponseTimedOut(check.timeout)))
}

fn http1_head(path: &str, host: &str) -> BytesMut {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {AGENT}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    BytesMut::from(head.as_bytes())
}

fn http2_head(path: &str, host: &str, is_tls: bool) -> Result<RequestHeader, Failure> {
    let head = || {
        let mut head = RequestHeader::build_no_case(Method::GET, path.as_bytes(), None)?;
        head.insert_header(USER_AGENT, AGENT)?;
        head.insert_header(ACCEPT, "*/*")?;
        absolute_uri(&mut head, host, is_tls)?;
        head.set_version(Version::HTTP_2);
        Ok(head)
    };
    head().map_err(|_: BError| Failure::Request("`health_check.path` is no path"))
}
