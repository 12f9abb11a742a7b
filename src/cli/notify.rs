//! Tells a service manager when the product is ready and when it ends: one datagram each (sd_notify(3)).

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::config;

/// Whoever started this process and wants to hear of it; nobody, most often.
pub(super) struct Supervisor(Option<OsString>);

impl Supervisor {
    /// The one that the environment names.
    pub(super) fn from_environment() -> Self {
        Self(config::notify_socket())
    }

    /// It serves, and this is the process to send signals to: after an upgrade it is another one.
    pub(super) fn ready(&self) {
        self.tell(&format!("READY=1\nMAINPID={}\n", std::process::id()));
    }

    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\n");
    }

    fn tell(&self, what: &str) {
        let Some(name) = &self.0 else { return };
        let address = match name.as_bytes() {
            [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name),
            _ => SocketAddr::from_pathname(name),
        };
        let sent = address.and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.send_to_addr(what.as_bytes(), &address)
        });
        if let Err(error) = sent {
            tracing::warn!(%error, "the service manager cannot be told how it goes");
        }
    }
}
