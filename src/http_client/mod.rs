//! The HTTP client for everything that this program fetches: key sets, discovery, sign-on, tokens.
//!
//! Responses are bounded in time and size. Redirects are followed within one origin. Private addresses are out of reach
//! where others than the operator choose the URL. With a proxy in the environment the proxy resolves names, so there
//! only addresses that stand in the URL are checked.

mod connect;
mod trust;

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, LOCATION, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use thiserror::Error;

use self::connect::{AGENT, Connector, chain};
pub use self::connect::{Proxies, Reach};
pub use self::trust::Trust;

/// The most redirects followed, all within one origin.
const REDIRECTS_MAX: usize = 3;

/// Why nothing was fetched.
#[derive(Debug, Error)]
pub enum FetchError {
    #[error("`{0}` is a private address; add its network to the config to allow it")]
    Inside(String),
    #[error("the fetch took longer than {0:?}")]
    Timeout(Duration),
    #[error("the fetch failed: {0}")]
    Http(String),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the answer has status {0}")]
    Status(u16),
    #[error("the answer redirects to another origin; configure the URL that it redirects to")]
    Redirect,
    #[error("the answer redirects more than {REDIRECTS_MAX} times")]
    Redirects,
}

/// What one fetch may take, redirects included.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub within: Duration,
    pub bytes_max: usize,
}

/// An HTTP client. Clones share its connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client<HttpsConnector<Connector>, Full<Bytes>>,
    reach: Reach,
    proxies: Proxies,
}

impl HttpClient {
    /// A client that reaches so far, trusts these authorities, and takes these proxies.
    #[must_use]
    pub fn new(reach: Reach, trust: &Trust, proxies: Proxies) -> Self {
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(trust.client_config())
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(Connector::new(reach.clone(), proxies.clone()));
        Self {
            client: Client::builder(TokioExecutor::new()).build(https),
            reach,
            proxies,
        }
    }

    /// A client as the environment says: the system's authorities and proxies.
    #[must_use]
    pub fn of_environment(reach: Reach) -> Self {
        Self::new(reach, &Trust::System, Proxies::from_environment())
    }

    /// What is found at a URL. Any status but 200 is an error. Redirects within the URL's origin are followed.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn get(&self, uri: &Uri, headers: HeaderMap, bounds: Bounds) -> Result<Bytes, FetchError> {
        let fetching = async {
            let mut uri = uri.clone();
            for _ in 0..=REDIRECTS_MAX {
                let response = self
                    .exchange(Method::GET, &uri, headers.clone(), Bytes::new())
                    .await?;
                if let Some(next) = redirect(&uri, &response)? {
                    uri = next;
                    continue;
                }
                let status = response.status();
                let body = body_of(response, bounds.bytes_max).await?;
                return match status {
                    StatusCode::OK => Ok(body),
                    status => Err(FetchError::Status(status.as_u16())),
                };
            }
            Err(FetchError::Redirects)
        };
        within(bounds, fetching).await
    }

    /// Posts a body. Answers the status and what came with it. Redirects are not followed.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn post(
        &self,
        uri: &Uri,
        headers: HeaderMap,
        body: impl Into<Bytes>,
        bounds: Bounds,
    ) -> Result<(StatusCode, Bytes), FetchError> {
        let posting = async {
            let response = self.exchange(Method::POST, uri, headers, body.into()).await?;
            Ok((response.status(), body_of(response, bounds.bytes_max).await?))
        };
        within(bounds, posting).await
    }

    async fn exchange(
        &self,
        method: Method,
        uri: &Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, FetchError> {
        // An address written as one is never resolved, so it is checked here.
        let host = uri.host().unwrap_or_default();
        let literal = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        if literal.is_ok_and(|address| !self.reach.allows(address)) {
            return Err(FetchError::Inside(host.to_owned()));
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        let held = request.headers_mut();
        *held = headers;
        held.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        held.entry(ACCEPT)
            .or_insert(HeaderValue::from_static("application/json"));
        if let Some(authorization) = self.proxies.authorization(uri) {
            held.insert(PROXY_AUTHORIZATION, authorization);
        }
        let response = self.client.request(request).await;
        response.map_err(|error| FetchError::Http(connection_problem(&error)))
    }
}

async fn within<T>(
    bounds: Bounds,
    fetching: impl Future<Output = Result<T, FetchError>>,
) -> Result<T, FetchError> {
    let fetched = tokio::time::timeout(bounds.within, fetching).await;
    fetched.map_err(|_| FetchError::Timeout(bounds.within))?
}

async fn body_of(response: Response<Incoming>, bytes_max: usize) -> Result<Bytes, FetchError> {
    let body = Limited::new(response.into_body(), bytes_max).collect().await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => FetchError::TooLarge(bytes_max),
        false => FetchError::Http(chain(&*error)),
    })?;
    Ok(body.to_bytes())
}

/// Where a response redirects to, if it does.
fn redirect(from: &Uri, response: &Response<Incoming>) -> Result<Option<Uri>, FetchError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok());
    let location = location.ok_or(FetchError::Status(response.status().as_u16()))?;
    same_origin(from, location).map(Some).ok_or(FetchError::Redirect)
}

/// The URL that `location` names, if its scheme, host and port are those of `from`.
fn same_origin(from: &Uri, location: &str) -> Option<Uri> {
    let to = match location.starts_with('/') && !location.starts_with("//") {
        true => {
            let mut parts = from.clone().into_parts();
            parts.path_and_query = Some(location.parse().ok()?);
            Uri::from_parts(parts).ok()?
        }
        false => location.parse::<Uri>().ok()?,
    };
    let is_same = to.scheme() == from.scheme() && to.authority() == from.authority();
    (is_same && from.authority().is_some()).then_some(to)
}

/// A URL for logs and messages: without user, password and query, which may hold secrets.
#[must_use]
pub fn shown(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{}://{host}{}", uri.scheme_str().unwrap_or_default(), uri.path())
}

fn connection_problem(error: &(dyn std::error::Error + 'static)) -> String {
    let text = chain(error);
    match text.contains("UnknownIssuer") {
        true => format!("{text}; name the certificate authority with `ca` or SSL_CERT_FILE"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_within_the_origin() {
        let from: Uri = "https://login.test:8443/a?b=c".parse().unwrap();
        for (location, expected) in [
            ("/keys", Some("https://login.test:8443/keys")),
            ("/keys?v=2", Some("https://login.test:8443/keys?v=2")),
            (
                "https://login.test:8443/keys",
                Some("https://login.test:8443/keys"),
            ),
            ("https://login.test/keys", None),
            ("http://login.test:8443/keys", None),
            ("https://login.test:8443@evil.test/keys", None),
            ("//evil.test/keys", None),
            ("https://evil.test/keys", None),
            ("keys", None),
            ("", None),
        ] {
            let found = same_origin(&from, location).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn user_password_and_query_are_not_shown() {
        let uri: Uri = "https://me:secret@login.test/keys?token=secret".parse().unwrap();
        assert_eq!(shown(&uri), "https://login.test/keys");
    }
}
