//! HTTP clients: a raw one for HTTP/1.1, so that any bytes can be sent, and one for HTTP/2.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub use super::answer::Answer;
use super::wait::within;
use super::wire;

/// A byte stream, plain or TLS.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// An HTTP/1.1 connection that sends the bytes it is given.
pub struct H1 {
    stream: BufReader<Box<dyn Wire>>,
}

impl H1 {
    pub async fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// The same from another of this machine's own addresses: another client to the gateway.
    pub async fn connect_from(from: [u8; 4], to: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        Self::over(socket.connect(to).await.unwrap())
    }

    pub fn over(stream: impl Wire + 'static) -> Self {
        Self {
            stream: BufReader::new(Box::new(stream)),
        }
    }

    /// Sends bytes, and says whether all of them were taken. A gateway that closed the connection meanwhile
    /// is no error here: its answer tells.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        within("the gateway took the bytes", sending).await.is_ok()
    }

    /// Says that nothing more will be sent.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The next response, to a request of this method.
    pub async fn answer_to(&mut self, method: &str) -> Answer {
        match self.try_answer_to(method).await {
            Some(answer) => answer,
            None => panic!("the connection ended without a response"),
        }
    }

    /// The next response to a GET or POST.
    pub async fn answer(&mut self) -> Answer {
        self.answer_to("POST").await
    }

    /// The next response, or `None` where the connection ends without one.
    pub async fn try_answer_to(&mut self, method: &str) -> Option<Answer> {
        within("the server answered", Answer::read(&mut self.stream, method)).await
    }

    /// Sends a byte every few milliseconds until a response comes.
    pub async fn trickle_until_answer(&mut self) -> Answer {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let answered = async {
            loop {
                tokio::select! {
                    held = self.stream.fill_buf() => {
                        let _ = held.unwrap();
                        return;
                    }
                    _ = ticks.tick() => {}
                }
                self.send(b"x").await;
            }
        };
        within("the gateway gave up waiting", answered).await;
        self.answer().await
    }

    /// Waits for an interim response and returns its status.
    pub async fn interim(&mut self) -> u16 {
        let head = within("an interim response", wire::read_head(&mut self.stream)).await;
        head.unwrap().line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Resolves when the gateway has closed the connection without another byte.
    pub async fn assert_closed(&mut self) {
        let mut rest = Vec::new();
        let _ = within(
            "the gateway closed the connection",
            self.stream.read_to_end(&mut rest),
        )
        .await;
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

/// Sends bytes on a new connection and reads one response.
pub async fn exchange(to: SocketAddr, bytes: &[u8]) -> Answer {
    let mut client = H1::connect(to).await;
    client.send(bytes).await;
    client.answer().await
}

/// An HTTP/2 connection.
pub struct H2 {
    sender: SendRequest<Bytes>,
}

impl H2 {
    /// With prior knowledge.
    pub async fn connect(to: SocketAddr) -> Self {
        Self::over(TcpStream::connect(to).await.unwrap()).await
    }

    pub async fn over(stream: impl Wire + 'static) -> Self {
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { sender }
    }

    /// Begins a request; its body is for the caller to send.
    pub async fn begin(
        &self,
        request: Request<()>,
        ended: bool,
    ) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let mut sender = within("HTTP/2 is ready", self.sender.clone().ready())
            .await
            .unwrap();
        sender.send_request(request, ended).unwrap()
    }

    /// Sends a whole request in parts of `size` and reads the response.
    pub async fn exchange(
        &self,
        request: Request<()>,
        body: &[u8],
        size: usize,
    ) -> Result<Answer, h2::Error> {
        let (response, mut sending) = self.begin(request, body.is_empty()).await;
        if !body.is_empty() {
            within("the gateway took the body", send_parts(&mut sending, body, size)).await;
        }
        within("the gateway answered", read_response(response)).await
    }

    /// The same for a request without a body.
    pub async fn get(&self, request: Request<()>) -> Answer {
        self.exchange(request, b"", 1).await.unwrap()
    }
}

async fn send_parts(sending: &mut h2::SendStream<Bytes>, body: &[u8], size: usize) {
    let mut parts = body.chunks(size).peekable();
    while let Some(part) = parts.next() {
        let mut part = Bytes::copy_from_slice(part);
        while !part.is_empty() {
            sending.reserve_capacity(part.len());
            let Some(Ok(room)) = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await else {
                // The gateway has answered and wants no more of it.
                return;
            };
            let now = part.split_to(room.min(part.len()));
            let ended = part.is_empty() && parts.peek().is_none();
            if sending.send_data(now, ended).is_err() {
                return;
            }
        }
    }
}

/// Reads a response to its end, or as far as it comes.
pub async fn read_response(response: h2::client::ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    let mut complete = true;
    while let Some(part) = stream.data().await {
        let Ok(part) = part else {
            complete = false;
            break;
        };
        let _ = stream.flow_control().release_capacity(part.len());
        body.extend_from_slice(&part);
    }
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Ok(Answer {
        status: head.status.as_u16(),
        interim: Vec::new(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        body,
        complete,
    })
}

/// A TLS connection that asks for `name`, with what the handshake agreed on.
pub async fn tls(
    to: SocketAddr,
    name: &str,
    config: ClientConfig,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TcpStream::connect(to).await?;
    within(
        "the TLS handshake",
        TlsConnector::from(Arc::new(config)).connect(name, stream),
    )
    .await
}
