//! Listening sockets: bound here, or taken over from the process before this one.

use std::net::{TcpListener, ToSocketAddrs as _};

use crate::gateway::start_error::StartError;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Sockets by their configured addresses that another process has bound already.
#[derive(Debug, Default)]
pub struct Sockets(Vec<(String, TcpListener)>);

impl Sockets {
    /// Sockets that were taken over.
    #[must_use]
    pub fn taken_over(sockets: Vec<(String, TcpListener)>) -> Self {
        Self(sockets)
    }

    /// The socket of a configured address: taken over from the previous process, or a new one.
    ///
    /// # Errors
    /// [`StartError::Listen`] with what to do about it.
    pub fn take_or_bind(&mut self, address: &str) -> Result<TcpListener, StartError> {
        match self.0.iter().position(|(held, _)| held == address) {
            // In their order: several may be configured as one address with port 0.
            Some(at) => Ok(self.0.remove(at).1),
            None => bind(address),
        }
    }
}

/// Binds a listening socket.
///
/// # Errors
/// [`StartError::Listen`] with what to do about it.
pub fn bind(address: &str) -> Result<TcpListener, StartError> {
    let failed = |error: &std::io::Error| StartError::Listen {
        address: address.to_owned(),
        can_pass: !matches!(
            error.kind(),
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::InvalidInput
        ),
        problem: match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another process listens there; stop it or choose another port".to_owned()
            }
            std::io::ErrorKind::PermissionDenied => {
                "this user may not; choose a port above 1023 or grant CAP_NET_BIND_SERVICE".to_owned()
            }
            _ => error.to_string(),
        },
    };
    let resolved = address.to_socket_addrs().map_err(|error| failed(&error))?.next();
    let resolved = resolved.ok_or_else(|| failed(&std::io::Error::other("the name has no address")))?;
    let listen = || {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(resolved),
            socket2::Type::STREAM,
            None,
        )?;
        socket.set_reuse_address(true)?;
        socket.bind(&resolved.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from(socket))
    };
    listen().map_err(|error| failed(&error))
}
