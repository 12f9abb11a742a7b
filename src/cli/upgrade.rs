//! Upgrade: a new process takes over the listening sockets of the running one, without refusing a connection.
//!
//! The running process listens on a Unix socket that only its own user may use. The new one, started with
//! `--upgrade`, connects and receives the listening sockets. Connections that wait in them wait for the process
//! that accepts next, so none is refused. Then, step by step:
//!
//! 1. The next process reads its config, certificates and policy file, and looks up its upstreams. If that fails
//!    it ends, and nothing has happened.
//! 2. Where it runs a control plane, it asks for the store. The old process answers the calls under way, lets go
//!    of the store and says so; new calls wait in the socket until the next process has opened it. Its gateway
//!    goes on with the policy it has, which nobody can change meanwhile.
//! 3. The next process opens the store, installs the policy, accepts, and says so.
//! 4. The old process stops accepting and drains: every answer is the last of its connection.
//!
//! If the next process ends before 4, or does not get there in time, the old one opens the store again and goes
//! on as before.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Interest};
use tokio::net::{UnixListener, UnixStream};

use super::failure::Failure;
use super::private_socket;
use crate::gateway::listen::sockets::Sockets;

const REJECTED_USER: &str = "upgrade rejected: the request came from another user";
const SOCKET_FAILED: &str = "upgrade socket failed";
const START_FAILED: &str = "upgrade failed: the new process could not be started";
const NOT_TOLD: &str = "upgrade: the previous process could not be told to stop";

/// The most sockets handed over, and the bytes that name them.
const SOCKETS_MAX: usize = 64;
const NAMES_BYTES_MAX: usize = 64 << 10;

/// How long the next process may take for each of its steps.
const NEXT_WITHIN: Duration = Duration::from_secs(60);

/// How long the old process may take to let go of the store.
const STORE_WITHIN: Duration = Duration::from_secs(30);

const WANT_STORE: &str = "give the store";
const STORE_GIVEN: &str = "the store is yours";
const SERVING: &str = "serving";

/// Where the new process connects.
pub(super) struct UpgradeSocket(UnixListener);

impl UpgradeSocket {
    /// Listens at `path`, in place of a process that did before.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::input(format_args!(
                "the upgrade socket {} cannot be made: {error}; choose another path for upgrade.socket",
                path.display()
            ))
        };
        let listener = private_socket::listen(path).map_err(failed)?;
        Ok(Self(listener))
    }

    /// Resolves when a process connects that may take over.
    pub(super) async fn requested(&self) -> UnixStream {
        loop {
            match self.0.accept().await {
                Ok((stream, _)) if private_socket::is_ours(&stream) => return stream,
                Ok(_) => tracing::warn!("{REJECTED_USER}"),
                Err(error) => {
                    tracing::warn!(%error, "{SOCKET_FAILED}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

/// The process that takes over, as the running one sees it.
pub(super) struct Successor(BufReader<UnixStream>);

/// What the next process wants, one after the other.
pub(super) enum Step {
    /// It asks for the store.
    WantsStore,
    /// It serves.
    Serves,
}

impl Successor {
    /// The process that connected, once it has the sockets.
    pub(super) async fn with_sockets(
        stream: UnixStream,
        sockets: &[(String, TcpListener)],
    ) -> std::io::Result<Self> {
        send_sockets(&stream, sockets).await?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Its next step, within the time that it has for one.
    pub(super) async fn step(&mut self) -> std::io::Result<Step> {
        match line(&mut self.0, NEXT_WITHIN).await?.as_str() {
            WANT_STORE => Ok(Step::WantsStore),
            SERVING => Ok(Step::Serves),
            _ => Err(std::io::ErrorKind::InvalidData.into()),
        }
    }

    /// Says that the store may be opened.
    pub(super) async fn store_given(&mut self) -> std::io::Result<()> {
        say(self.0.get_mut(), STORE_GIVEN).await
    }
}

/// Starts this program again, from the file it was started from, to take over from this process.
pub(super) fn start_successor(config: &Path) {
    let program = std::env::args_os().next().unwrap_or_else(|| "portcullis".into());
    let mut command = std::process::Command::new(program);
    command.args(["serve", "--upgrade", "--config"]).arg(config);
    // The watchdog is the new process's to keep quiet, once it is the main one.
    command.env_remove("WATCHDOG_PID");
    match command.stdin(std::process::Stdio::null()).spawn() {
        Ok(mut child) => {
            // Where it fails this process goes on, and must not leave its remains.
            std::thread::spawn(move || child.wait());
        }
        Err(error) => tracing::error!(%error, "{START_FAILED}"),
    }
}

/// The running process, as the new one sees it.
pub(super) struct Predecessor(BufReader<UnixStream>);

impl Predecessor {
    /// Connects at `path`. The sockets come back too.
    pub(super) async fn connect(path: &Path) -> Result<(Self, Sockets), Failure> {
        let at = path.display();
        let stream = UnixStream::connect(path).await.map_err(|error| {
            Failure::input(format_args!(
                "no process is found at the upgrade socket {at}: {error}; start without --upgrade where none runs"
            ))
        })?;
        let sockets = tokio::time::timeout(STORE_WITHIN, receive_sockets(&stream))
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(|error| {
                Failure::input(format_args!(
                    "the process at {at} did not hand over its sockets: {error}"
                ))
            })?;
        Ok((Self(BufReader::new(stream)), Sockets::taken_over(sockets)))
    }

    /// Resolves when the store may be opened.
    pub(super) async fn give_store(&mut self) -> Result<(), Failure> {
        let failed = |error| {
            Failure::input(format_args!(
                "the process that runs did not let go of the store: {error}; it goes on"
            ))
        };
        say(self.0.get_mut(), WANT_STORE).await.map_err(failed)?;
        match line(&mut self.0, STORE_WITHIN).await.map_err(failed)?.as_str() {
            STORE_GIVEN => Ok(()),
            _ => Err(failed(std::io::ErrorKind::InvalidData.into())),
        }
    }

    /// Says that this process serves: the other one is to end.
    pub(super) async fn serving(mut self) {
        if let Err(error) = say(self.0.get_mut(), SERVING).await {
            tracing::warn!(%error, "{NOT_TOLD}");
        }
    }
}

async fn say(to: &mut UnixStream, what: &str) -> std::io::Result<()> {
    to.write_all(format!("{what}\n").as_bytes()).await
}

async fn line(from: &mut BufReader<UnixStream>, within: Duration) -> std::io::Result<String> {
    let mut line = String::new();
    let read = tokio::time::timeout(within, from.read_line(&mut line)).await??;
    match read {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}

/// Sends the sockets, and one line with their configured addresses in the same order.
async fn send_sockets(to: &UnixStream, sockets: &[(String, TcpListener)]) -> std::io::Result<()> {
    if sockets.len() > SOCKETS_MAX {
        return Err(std::io::Error::other("there are more than 64 listeners"));
    }
    let names: Vec<&str> = sockets.iter().map(|(name, _)| name.as_str()).collect();
    let mut message = serde_json::to_vec(&names)?;
    message.push(b'\n');
    let fds: Vec<BorrowedFd<'_>> = sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
    let send = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !rights.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(std::io::ErrorKind::OutOfMemory.into());
        }
        Ok(sendmsg(
            to,
            &[IoSlice::new(&message)],
            &mut rights,
            SendFlags::NOSIGNAL,
        )?)
    };
    match to.async_io(Interest::WRITABLE, send).await? {
        all if all == message.len() => Ok(()),
        _ => Err(std::io::ErrorKind::WriteZero.into()),
    }
}

async fn receive_sockets(from: &UnixStream) -> std::io::Result<Vec<(String, TcpListener)>> {
    let mut text = Vec::new();
    let mut fds: Vec<OwnedFd> = Vec::new();
    while text.last() != Some(&b'\n') {
        let receive = || {
            let mut part = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
            let mut rights = RecvAncillaryBuffer::new(&mut space);
            let parts = &mut [IoSliceMut::new(&mut part)];
            let received = recvmsg(from, parts, &mut rights, RecvFlags::CMSG_CLOEXEC)?;
            for message in rights.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    fds.extend(received);
                }
            }
            text.extend_from_slice(part.get(..received.bytes).unwrap_or_default());
            Ok(received.bytes)
        };
        if from.async_io(Interest::READABLE, receive).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if text.len() > NAMES_BYTES_MAX {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
    }
    let names: Vec<String> = serde_json::from_slice(&text)?;
    if names.len() != fds.len() {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    Ok(names
        .into_iter()
        .zip(fds.into_iter().map(TcpListener::from))
        .collect())
}
