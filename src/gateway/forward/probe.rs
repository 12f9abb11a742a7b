//! Health checks: a connection to a server, or a request that must get status 200.

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{Method, StatusCode, Version};
use pingora_error::BError;
use pingora_http::RequestHeader;
use pingora_timeout::timeout;

use super::connection::{Connection, absolute_uri};
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
        let request = request(path, host, connection.is_http2(), connection.is_tls());
        let request = request.map_err(|_| Failure::Request("`health_check.path` is no path"))?;
        connection.send(request, &Bytes::new()).await?;
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

/// A server is probed in the version that requests use.
fn request(path: &str, host: &str, is_http2: bool, is_tls: bool) -> Result<RequestHeader, BError> {
    let mut request = RequestHeader::build(Method::GET, path.as_bytes(), None)?;
    request.insert_header(USER_AGENT, AGENT)?;
    request.insert_header(ACCEPT, "*/*")?;
    if is_http2 {
        absolute_uri(&mut request, host, is_tls)?;
        request.set_version(Version::HTTP_2);
    } else {
        request.insert_header(HOST, host)?;
        request.insert_header(CONNECTION, "close")?;
    }
    Ok(request)
}
