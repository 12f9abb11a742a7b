//! Connections of the HTTP client: straight to the server, or through the proxy that the environment names.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::domain::network::{Network, is_public};

/// What every request says of its sender. Some APIs refuse requests without it.
pub(super) const AGENT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));

type BoxError = Box<dyn Error + Send + Sync>;
type Tcp = TokioIo<TcpStream>;

/// How far the client may reach.
#[derive(Clone, Debug)]
pub enum Reach {
    /// Anywhere: the operator has named each URL.
    Anywhere,
    /// Public addresses, and these networks: others than the operator name the URLs.
    Public { besides: Arc<[Network]> },
}

/// The proxies for outgoing requests: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower case,
/// as curl reads them.
#[derive(Clone, Debug)]
pub struct Proxies(Arc<Matcher>);

impl Proxies {
    /// What the environment says.
    #[must_use]
    pub fn from_environment() -> Self {
        Self(Arc::new(Matcher::from_env()))
    }

    /// One proxy for everything, or none for an empty text.
    #[must_use]
    pub fn all(proxy: &str) -> Self {
        Self(Arc::new(Matcher::builder().all(proxy).build()))
    }

    /// The `Proxy-Authorization` of a plain request, which the proxy itself reads. With TLS it stands in the `CONNECT`.
    pub(super) fn authorization(&self, uri: &Uri) -> Option<HeaderValue> {
        let is_plain = uri.scheme_str() == Some("http");
        let proxy = self.0.intercept(uri).filter(|_| is_plain)?;
        proxy.basic_auth().cloned()
    }
}

/// Opens connections.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    direct: HttpConnector<Resolver>,
    /// The operator named the proxy, wherever it is.
    to_proxy: HttpConnector<Resolver>,
    proxies: Proxies,
}

impl Connector {
    pub(super) fn new(reach: Reach, proxies: Proxies) -> Self {
        let connector = |reach| {
            let mut connector = HttpConnector::new_with_resolver(Resolver(reach));
            connector.enforce_http(false);
            connector
        };
        Self {
            direct: connector(reach),
            to_proxy: connector(Reach::Anywhere),
            proxies,
        }
    }

    async fn through(
        mut to_proxy: HttpConnector<Resolver>,
        proxy: Intercept,
        uri: Uri,
    ) -> Result<Stream, BoxError> {
        if proxy.uri().scheme_str() != Some("http") {
            return Err("only proxies with http:// are supported; change HTTPS_PROXY or HTTP_PROXY".into());
        }
        let failed = |error: BoxError| -> BoxError {
            let at = proxy.uri().authority().map_or("", http::uri::Authority::as_str);
            format!("the proxy {at} did not connect: {}", chain(&*error)).into()
        };
        if uri.scheme_str() == Some("http") {
            let tcp = to_proxy.call(proxy.uri().clone()).await;
            let tcp = tcp.map_err(|error| failed(error.into()))?;
            return Ok(Stream {
                tcp,
                is_to_proxy: true,
            });
        }
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let mut tunnel = Tunnel::new(proxy.uri().clone(), to_proxy).with_headers(headers);
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        let tcp = tunnel.call(uri).await.map_err(|error| failed(error.into()))?;
        Ok(Stream {
            tcp,
            is_to_proxy: false,
        })
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        if let Some(proxy) = self.proxies.0.intercept(&uri) {
            return Box::pin(Self::through(self.to_proxy.clone(), proxy, uri));
        }
        let connecting = self.direct.call(uri);
        Box::pin(async move {
            Ok(Stream {
                tcp: connecting.await?,
                is_to_proxy: false,
            })
        })
    }
}

/// A connection, and whether a proxy reads the requests on it. Such requests name the whole URL.
#[derive(Debug)]
pub(super) struct Stream {
    tcp: Tcp,
    is_to_proxy: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.tcp.connected().proxy(self.is_to_proxy)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl Reach {
    pub(super) fn allows(&self, address: IpAddr) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Public { besides } => {
                is_public(address) || besides.iter().any(|network| network.contains(address))
            }
        }
    }
}

/// Resolves names, and drops addresses that are out of reach. The client connects to what was checked.
#[derive(Clone, Debug)]
struct Resolver(Reach);

impl Service<Name> for Resolver {
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
                    "it resolves to private addresses only; add their network to the config to allow them",
                ));
            }
            Ok(reached.into_iter())
        })
    }
}

/// An error with its causes: the outermost alone says only that the connection failed.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
