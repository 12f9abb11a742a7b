//! A connection before its first request: the TLS handshake, and the choice between HTTP/1 and HTTP/2.

use crate::gateway::serve::current::CurrentGateway;
use std::net::SocketAddr;
use std::sync::Arc;

use pingora_core::server::ShutdownWatch;

use super::http1;
use super::http1::SpeaksHttp2;
use super::http2;
use crate::connections::ConnectionPermit;
use crate::gateway::wire::buffered::Buffered;
use crate::gateway::wire::socket::Socket;
use crate::tls::acceptor::Acceptor;

/// Serves a connection to its end. Futures that are needed only some of the time are boxed: a task is as large as its
/// largest state, and most connections wait most of the time.
pub(crate) async fn serve(
    app: Arc<CurrentGateway>,
    stream: Buffered,
    client: SocketAddr,
    tls: Option<Arc<Acceptor>>,
    permit: ConnectionPermit,
    shutdown: ShutdownWatch,
) {
    let stopped = shutdown.clone();
    let is_plain = tls.is_none();
    let socket = match tls {
        None => Socket::plain(stream, client, stopped),
        Some(tls) => {
            let within = app.current().limits.handshake_timeout;
            let accepting = Box::pin(tls.accept(stream, within));
            let Some(stream) = accepting.await else {
                return;
            };
            Socket::tls(stream, client, stopped)
        }
    };
    let mut socket = Box::new(socket);
    if !socket.has_agreed_on_http2() {
        match http1::serve(&app, permit.connection(), socket, is_plain).await {
            Some(SpeaksHttp2(http2, read)) => {
                socket = http2;
                socket.rewind(&read);
            }
            None => return,
        }
    }
    Box::pin(http2::serve(&app, socket, permit.connection(), &shutdown)).await;
}
