//! The key set of an issuer in a file (`jwks_file`), read again whenever the file changes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::file_stamp::{Stamp, settled};
use super::jwks::KeySetError;
use crate::config::{FileWatch, KeyOrigin, OutsideIssuer};
use crate::domain::issuer_keys::IssuerKeys;
use crate::domain::key::Algorithm;
use crate::gateway::state::policy_cell::PolicyCell;
use crate::key_sets;
use crate::key_sets::LeftOutLog;

/// How often the file is looked at where its folder cannot be watched.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One issuer's key file.
pub struct KeyFile {
    issuer: String,
    path: PathBuf,
    algorithms: Vec<Algorithm>,
    /// The file as it was when its keys were taken, or refused.
    seen: Mutex<Option<Stamp>>,
    left_out: Mutex<LeftOutLog>,
    wanted: Notify,
}

impl KeyFile {
    /// The file of an issuer whose keys come from one, `None` for others.
    #[must_use]
    pub fn new(issuer: &OutsideIssuer) -> Option<Self> {
        let KeyOrigin::File(path) = &issuer.keys else {
            return None;
        };
        Some(Self {
            issuer: issuer.issuer.clone(),
            path: path.clone(),
            algorithms: issuer.algorithms.clone(),
            seen: Mutex::new(None),
            left_out: Mutex::default(),
            wanted: Notify::new(),
        })
    }

    /// The issuer's name.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Reads the file for the start.
    ///
    /// # Errors
    /// It cannot be read, is no key set, or has no usable key: nobody writes down an issuer none of whose tokens are
    /// to be accepted.
    pub fn first(&self) -> Result<IssuerKeys, KeySetError> {
        // Taken first: a file that changes while it is read is found to be another one then.
        *self.seen.lock() = Stamp::of(&self.path);
        let keys = self.read()?;
        match keys.is_empty() {
            true => Err(KeySetError::NoKeys),
            false => Ok(keys),
        }
    }

    /// Has the file looked at now.
    pub fn look(&self) {
        self.wanted.notify_one();
    }

    /// Follows the file until cancelled. What the operator takes out of it ends, even all of it. A file that is
    /// missing or no key set is a mistake, and the keys in force stay.
    pub async fn run(&self, cell: &PolicyCell) {
        let mut watch = FileWatch::new([&self.path].into_iter(), LOOK_EVERY);
        loop {
            tokio::select! {
                () = watch.next() => {}
                () = self.wanted.notified() => {}
            }
            if Stamp::of(&self.path) == *self.seen.lock() {
                continue;
            }
            let stamp = settled(&self.path).await;
            *self.seen.lock() = stamp;
            let (issuer, file) = (&self.issuer, self.path.display());
            match self.read() {
                Ok(keys) => {
                    cell.set_issuer_keys(issuer, &keys);
                    if keys.is_empty() {
                        tracing::warn!(%issuer, %file, "key file has no usable key; none of the issuer's tokens is accepted");
                    } else {
                        tracing::info!(%issuer, %file, keys = keys.len(), "key file read again");
                    }
                }
                Err(error) => {
                    tracing::error!(%issuer, %error, "key file refused; the keys in force stay");
                }
            }
        }
    }

    fn read(&self) -> Result<IssuerKeys, KeySetError> {
        let text = read_bounded(&self.path)?;
        let set = key_sets::parse(&text, &self.algorithms)
            .map_err(|problem| KeySetError::File(self.path.display().to_string(), problem))?;
        let place = self.path.display().to_string();
        self.left_out.lock().note(&self.issuer, &place, &set);
        Ok(set.keys)
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, KeySetError> {
    let failed = |problem: String| KeySetError::File(path.display().to_string(), problem);
    let size = std::fs::metadata(path)
        .map_err(|error| failed(format!("cannot be read: {error}")))?
        .len();
    if size > key_sets::BYTES_MAX as u64 {
        return Err(failed(format!("is larger than {} bytes", key_sets::BYTES_MAX)));
    }
    std::fs::read(path).map_err(|error| failed(format!("cannot be read: {error}")))
}
