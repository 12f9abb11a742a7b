//! The HTTP client for what this server fetches by itself: key sets, and what a sign-on provider says.
//!
//! Redirects are not followed, answers are bounded in time and size, and addresses inside are out of reach
//! unless the operator has named them.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use thiserror::Error;

use crate::domain::network::{Network, is_public};

/// Why nothing was fetched.
#[derive(Debug, Error)]
pub enum FetchError {
    #[error("the address of `{0}` is inside, where this server fetches nothing unless its config lists it")]
    Inside(String),
    #[error("the fetch took longer than {0:?}")]
    Timeout(Duration),
    #[error("the fetch failed: {0}")]
    Http(String),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the answer has status {0}")]
    Status(u16),
}

/// How far the client may reach.
#[derive(Clone, Debug)]
pub enum Reach {
    /// Anywhere: the operator has named each URL.
    Anywhere,
    /// Public addresses, and these networks: others than the operator name the URLs.
    Public { besides: Arc<[Network]> },
}

impl Reach {
    fn allows(&self, address: IpAddr) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Public { besides } => {
                is_public(address) || besides.iter().any(|network| network.contains(address))
            }
        }
    }
}

/// What one fetch may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub within: Duration,
    pub bytes_max: usize,
}

/// An HTTP client.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    reach: Reach,
}

impl HttpClient {
    /// A client that reaches so far.
    #[must_use]
    pub fn new(reach: Reach) -> Self {
        // The first one stays: where the process has chosen already, this says the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut connector = HttpConnector::new_with_resolver(Resolver(reach.clone()));
        connector.enforce_http(false);
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(connector);
        Self {
            client: Client::builder(TokioExecutor::new()).build(https),
            reach,
        }
    }

    /// What is found at a URL. Any status but 200 is an error, redirects included.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn get(&self, uri: &Uri, headers: HeaderMap, bounds: Bounds) -> Result<Bytes, FetchError> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        let (status, body) = self.send(request, bounds).await?;
        if status == StatusCode::OK {
            Ok(body)
        } else {
            Err(FetchError::Status(status.as_u16()))
        }
    }

    /// Posts a body. Answers the status and what came with it.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn post(
        &self,
        uri: &Uri,
        headers: HeaderMap,
        body: String,
        bounds: Bounds,
    ) -> Result<(StatusCode, Bytes), FetchError> {
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        self.send(request, bounds).await
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        bounds: Bounds,
    ) -> Result<(StatusCode, Bytes), FetchError> {
        // An address written as one is never resolved, so it is looked at here.
        let host = request.uri().host().unwrap_or_default();
        let literal = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        if literal.is_ok_and(|address| !self.reach.allows(address)) {
            return Err(FetchError::Inside(host.to_owned()));
        }
        tokio::time::timeout(bounds.within, self.exchange(request, bounds.bytes_max))
            .await
            .map_err(|_| FetchError::Timeout(bounds.within))?
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<(StatusCode, Bytes), FetchError> {
        let response = self.client.request(request).await;
        let response = response.map_err(|error| FetchError::Http(chain(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), bytes_max).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                FetchError::TooLarge(bytes_max)
            } else {
                FetchError::Http(error.to_string())
            }
        })?;
        Ok((status, body.to_bytes()))
    }
}

/// A URL for logs and messages: without user, password and query, each of which may hold a secret.
#[must_use]
pub fn shown(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{}://{host}{}", uri.scheme_str().unwrap_or_default(), uri.path())
}

/// An error with its causes: the outermost alone says only that the connection failed.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Names to addresses, those that are out of reach left out: what is connected to is what was looked at.
#[derive(Clone, Debug)]
struct Resolver(Reach);

impl tower_service::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let reach = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let reached: Vec<SocketAddr> = found.filter(|address| reach.allows(address.ip())).collect();
            if reached.is_empty() {
                return Err(io::Error::other(
                    "its addresses are inside, and the config does not list them",
                ));
            }
            Ok(reached.into_iter())
        })
    }
}
