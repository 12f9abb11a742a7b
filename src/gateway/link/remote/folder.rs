//! The state folder of an edge: its identity, its last good policy, and how long it may take that for current.
//!
//! The identity is kept twice and apart from the policy, so that a damaged policy never costs it. What was
//! acknowledged is on disk: files are synced before an edge says that it has a version. Files that are damaged,
//! truncated or another fleet's are put aside and named in the log; the policy is then fetched anew.

use std::fs::{File, OpenOptions};
use std::io;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::identity::Identity;
use crate::domain::digest::sha256;
use crate::fleet::position::Position;
use crate::fleet::protocol::ChangeEvent;
use crate::snapshot::Snapshot;

const IDENTITY: &str = "identity.json";
const IDENTITY_COPY: &str = "identity.copy.json";
const SNAPSHOT: &str = "policy.snapshot";
const CHANGES: &str = "policy.changes";
const LEASE: &str = "lease.json";
const LOCK: &str = "lock";
const PROBE: &str = "probe";

/// How the first line of a snapshot file begins.
const SNAPSHOT_MARK: &str = "portcullis-snapshot 1";

/// The largest text of a snapshot, in bytes, and the largest line of changes.
pub(super) const SNAPSHOT_TEXT_MAX: u64 = 4 << 30;
const CHANGE_BYTES_MAX: u64 = 16 << 20;

/// How many bytes of changes a snapshot may be followed by, before a new one is fetched.
const CHANGES_BYTES_MAX: u64 = 64 << 20;

/// Why the state folder cannot be used.
#[derive(Debug, Error)]
pub enum FolderError {
    #[error("{} cannot be used: {error}; it must be a folder that this user may write", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{} is in use by another process; give each edge a state folder of its own", .0.display())]
    InUse(PathBuf),
    #[error("both copies of the edge's identity in {} are damaged; enrol it anew: empty the folder and set policy.join", .0.display())]
    Identity(PathBuf),
}

/// Whether a state folder has an identity, so that its edge starts without a token to join with.
pub(crate) fn is_enrolled(folder: &Path) -> bool {
    [IDENTITY, IDENTITY_COPY]
        .iter()
        .any(|name| folder.join(name).exists())
}

/// What a lease was when it was written down. It counts within one boot of the machine.
#[derive(Serialize, Deserialize)]
struct StoredLease {
    boot: String,
    current_until_ms: u64,
}

/// An opened state folder. Another process cannot open it meanwhile.
pub struct StateFolder {
    path: PathBuf,
    _lock: File,
    changes: Option<File>,
    changes_bytes: u64,
    /// Whether what is in force could not be written down.
    is_behind: bool,
    /// The end of a lease that is on disk and could not be removed, on the clock since boot.
    lease_left: Option<Duration>,
}

/// A policy as it was last acknowledged.
pub struct StoredPolicy {
    pub snapshot: Snapshot,
    pub changes: Vec<ChangeEvent>,
    pub position: Position,
}

impl StateFolder {
    /// Opens the folder, and makes it where it is missing.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let failed = |error| FolderError::Io {
            path: path.to_owned(),
            error,
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        let lock = private()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK));
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(FolderError::InUse(path.to_owned())),
            Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
            changes: None,
            changes_bytes: 0,
            is_behind: false,
            lease_left: None,
        })
    }

    /// Whether files can be written here now.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn probe(&self) -> Result<(), FolderError> {
        self.replace(PROBE, b"portcullis")?;
        let _ = std::fs::remove_file(self.path.join(PROBE));
        Ok(())
    }

    fn failed(&self, error: io::Error) -> FolderError {
        FolderError::Io {
            path: self.path.clone(),
            error,
        }
    }

    /// The edge's identity, from whichever copy is whole; none before it joined.
    ///
    /// # Errors
    /// [`FolderError::Identity`] where there are copies and none is whole.
    pub fn identity(&self) -> Result<Option<Identity>, FolderError> {
        let mut is_there = false;
        for name in [IDENTITY, IDENTITY_COPY] {
            match std::fs::read(self.path.join(name)) {
                Ok(bytes) => {
                    is_there = true;
                    if let Some(identity) = Identity::from_json(&bytes) {
                        return Ok(Some(identity));
                    }
                    tracing::error!(file = name, "{IDENTITY_DAMAGED}");
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        match is_there {
            true => Err(FolderError::Identity(self.path.clone())),
            false => Ok(None),
        }
    }

    /// Writes both copies of the identity, one after the other.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn keep_identity(&self, identity: &Identity) -> Result<(), FolderError> {
        let json = identity.to_json();
        for name in [IDENTITY_COPY, IDENTITY] {
            self.replace(name, json.as_bytes())?;
        }
        Ok(())
    }

    /// The policy as it was last acknowledged; none where there is none that is whole.
    pub fn policy(&mut self) -> Option<StoredPolicy> {
        match self.read_policy() {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "{POLICY_DAMAGED}");
                for name in [SNAPSHOT, CHANGES] {
                    let path = self.path.join(name);
                    let _ = std::fs::rename(&path, self.path.join(format!("{name}.damaged")));
                }
                None
            }
        }
    }

    fn read_policy(&mut self) -> io::Result<Option<StoredPolicy>> {
        let file = match File::open(self.path.join(SNAPSHOT)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the snapshot is damaged");
        let mut reader = BufReader::new(file);
        let mut head = String::new();
        (&mut reader).take(256).read_line(&mut head)?;
        let mut words = head
            .trim_end()
            .strip_prefix(SNAPSHOT_MARK)
            .ok_or_else(damaged)?
            .split_ascii_whitespace();
        let position: Position = words
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or_else(damaged)?;
        let digest = words.next().ok_or_else(damaged)?;
        let mut packed = Vec::new();
        reader.take(SNAPSHOT_TEXT_MAX).read_to_end(&mut packed)?;
        if hex(&sha256(&packed)) != digest {
            return Err(damaged());
        }
        let snapshot = unpack(&packed)?;
        let (changes, bytes) = self.read_changes(position)?;
        let position = changes.last().map_or(position, |event| event.position);
        self.changes_bytes = bytes;
        Ok(Some(StoredPolicy {
            snapshot,
            changes,
            position,
        }))
    }

    /// The changes after the snapshot's position, up to the first line that is not whole, and their length. What follows
    /// that line was never acknowledged, and is cut off.
    fn read_changes(&self, after: Position) -> io::Result<(Vec<ChangeEvent>, u64)> {
        let path = self.path.join(CHANGES);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
            Err(error) => return Err(error),
        };
        let (mut found, mut whole, mut at) = (Vec::new(), 0_u64, after);
        let mut reader = BufReader::new(file);
        loop {
            let mut line = Vec::new();
            let length = (&mut reader)
                .take(CHANGE_BYTES_MAX)
                .read_until(b'\n', &mut line)?;
            let Some(event) = parse_line(&line) else { break };
            if event.position.version > at.version {
                if event.position.version != at.version + 1 {
                    break;
                }
                at = event.position;
                found.push(event);
            }
            whole += length as u64;
        }
        OpenOptions::new().write(true).open(&path)?.set_len(whole)?;
        Ok((found, whole))
    }

    /// Replaces the policy by a snapshot, packed as it came, synced before this returns.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn keep_snapshot(&mut self, position: Position, packed: &[u8]) -> Result<(), FolderError> {
        let mut bytes = format!("{SNAPSHOT_MARK} {position} {}\n", hex(&sha256(packed))).into_bytes();
        bytes.extend_from_slice(packed);
        self.replace(SNAPSHOT, &bytes)?;
        // Changes from before the snapshot are skipped when they are read; a crash between the two is harmless.
        self.changes = None;
        self.replace(CHANGES, b"")?;
        self.changes_bytes = 0;
        self.is_behind = false;
        self.lease_left = None;
        Ok(())
    }

    /// Adds changes, synced before this returns.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn append(&mut self, event: &ChangeEvent) -> Result<(), FolderError> {
        let json = serde_json::to_string(event).map_err(|error| self.failed(error.into()))?;
        let line = format!("{} {json}\n", hex(&sha256(json.as_bytes())));
        if self.changes.is_none() {
            let file = private().create(true).append(true).open(self.path.join(CHANGES));
            self.changes = Some(file.map_err(|error| self.failed(error))?);
        }
        if let Some(file) = &mut self.changes {
            let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_data());
            if let Err(error) = written {
                // Half a line may be there: what follows it would not be read.
                let whole = file.set_len(self.changes_bytes);
                self.changes = None;
                let failed = self.failed(error);
                return Err(whole.map_or_else(|error| self.failed(error), |()| failed));
            }
        }
        self.changes_bytes += line.len() as u64;
        Ok(())
    }

    /// Whether so many changes follow the snapshot that a new one is due.
    pub const fn is_long(&self) -> bool {
        self.changes_bytes > CHANGES_BYTES_MAX
    }

    /// Goes on without the disk: what is in force from now on is not on it. The lease is forgotten first, so that a
    /// restart serves nothing enforced by the older policy that is there.
    pub fn fall_behind(&mut self) {
        self.is_behind = true;
        let lease = self.lease();
        self.lease_left = match self.forget_lease() {
            true => None,
            // What cannot be read counts in no restart either.
            false => lease,
        };
    }

    /// Whether what is in force is not on disk.
    pub const fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Whether a restart would not go back behind what is acknowledged now: it is on disk, or what is on disk counts as
    /// stale. `now` is on the clock since boot.
    pub fn may_acknowledge(&self, now: Duration) -> bool {
        self.lease_left.is_none_or(|until| until <= now)
    }

    /// Notes until when, on the clock since boot, the policy counts as current. Not synced: losing it is safe. Not noted
    /// while the policy on disk is an older one.
    pub fn keep_lease(&self, current_until: Duration) {
        if self.is_behind {
            return;
        }
        let Some(boot) = boot_id() else { return };
        let lease = StoredLease {
            boot,
            current_until_ms: u64::try_from(current_until.as_millis()).unwrap_or_default(),
        };
        if let Ok(json) = serde_json::to_vec(&lease) {
            let _ = std::fs::write(self.path.join(LEASE), json);
        }
    }

    /// Until when the policy counts as current, if that was noted since the machine was started.
    pub fn lease(&self) -> Option<Duration> {
        let bytes = std::fs::read(self.path.join(LEASE)).ok()?;
        let lease: StoredLease = serde_json::from_slice(&bytes).ok()?;
        (Some(lease.boot) == boot_id()).then(|| Duration::from_millis(lease.current_until_ms))
    }

    /// Forgets the lease: nothing is accepted by this policy until it is renewed. Whether none is left on disk.
    #[must_use]
    pub fn forget_lease(&self) -> bool {
        match std::fs::remove_file(self.path.join(LEASE)) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let (next, path) = (self.path.join(format!("{name}.new")), self.path.join(name));
        let written = (|| {
            let mut file = private().create(true).truncate(true).write(true).open(&next)?;
            file.write_all(bytes)?;
            file.sync_data()?;
            std::fs::rename(&next, &path)?;
            File::open(&self.path)?.sync_all()
        })();
        written.map_err(|error| self.failed(error))
    }
}

/// Reads a packed snapshot, within its bounds.
pub(super) fn unpack(packed: &[u8]) -> io::Result<Snapshot> {
    let text = BufReader::new(GzDecoder::new(packed).take(SNAPSHOT_TEXT_MAX));
    serde_json::from_reader(text).map_err(io::Error::other)
}

fn parse_line(line: &[u8]) -> Option<ChangeEvent> {
    let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (digest, json) = line.split_once(' ')?;
    (hex(&sha256(json.as_bytes())) == digest).then(|| serde_json::from_str(json).ok())?
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What tells one boot of this machine from another.
fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

const IDENTITY_DAMAGED: &str = "a copy of the edge's identity is damaged; using the other one";
const POLICY_DAMAGED: &str = "the stored policy cannot be used; put aside, and fetching it anew";
