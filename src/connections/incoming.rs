//! Accepts the connections of one socket, also while the process has no file descriptor left.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};

use super::limiter::ConnectionGroup;

/// How long accepting pauses after no descriptor was left for a connection.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// The connections that arrive at one socket.
pub struct Incoming {
    socket: TcpListener,
    group: Arc<ConnectionGroup>,
    reserve: Reserve,
}

impl Incoming {
    /// The connections that arrive at `socket`. Failures are counted in the metrics of `group`.
    #[must_use]
    pub fn new(socket: TcpListener, group: &Arc<ConnectionGroup>) -> Self {
        let mut reserve = Reserve::default();
        reserve.fill();
        Self {
            socket,
            group: Arc::clone(group),
            reserve,
        }
    }

    /// The next connection and its peer. No error ends this: one connection that fails has ended already, and while no
    /// descriptor is left, waiting connections are accepted and closed.
    pub async fn next(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok((stream, peer)) if self.reserve.fill() => {
                    // Responses are small and complete: waiting to fill a packet only delays them.
                    let _ = stream.set_nodelay(true);
                    return (stream, peer);
                }
                Ok((stream, _)) => {
                    // Another part of the process took the reserved descriptor. This one replaces it.
                    drop(stream);
                    self.reserve.fill();
                    self.group.count_accept_error(&Errno::MFILE.into(), true);
                    tokio::time::sleep(SHORTAGE_PAUSE).await;
                }
                Err(error) => {
                    let is_shortage = is_shortage(&error);
                    self.group.count_accept_error(&error, is_shortage);
                    if is_shortage {
                        self.reserve.turn_one_away(&self.socket).await;
                    }
                }
            }
        }
    }
}

fn is_shortage(error: &std::io::Error) -> bool {
    let of_descriptors = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| of_descriptors.contains(&errno))
}

/// A reserved descriptor: when no other is left, it serves to accept a waiting connection and close it.
#[derive(Default)]
struct Reserve(Option<File>);

impl Reserve {
    /// Reserves a descriptor unless one is reserved. Returns whether one is.
    fn fill(&mut self) -> bool {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
        self.0.is_some()
    }

    /// Accepts one connection and closes it, then pauses so that others may end.
    async fn turn_one_away(&mut self, socket: &TcpListener) {
        self.0 = None;
        let _ = tokio::time::timeout(SHORTAGE_PAUSE, socket.accept()).await;
        self.fill();
        tokio::time::sleep(SHORTAGE_PAUSE).await;
    }
}
