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
use crate::snapshot::KeyBounds;

/// Log messages.
const NO_USABLE_KEY: &str = "JWKS file has no usable key; rejecting all tokens of the issuer";
const READ_AGAIN: &str = "JWKS file read again";
const REFUSED: &str = "JWKS file refused; keeping the current keys";

/// How often the file is checked where its folder cannot be watched.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One issuer's key file.
pub struct KeyFile {
    issuer: String,
    path: PathBuf,
    algorithms: Vec<Algorithm>,
    bounds: KeyBounds,
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
            bounds: issuer.key_bounds,
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
    /// It cannot be read, is no key set, or has no usable key: an issuer whose tokens are all rejected is a mistake.
    pub fn first(&self) -> Result<IssuerKeys, KeySetError> {
        // Taken first, so that a file that changes while it is read is read again.
        *self.seen.lock() = Stamp::of(&self.path);
        let keys = self.read()?;
        match keys.is_empty() {
            true => Err(KeySetError::NoKeys),
            false => Ok(keys),
        }
    }

    /// Checks the file now.
    pub fn look(&self) {
        self.wanted.notify_one();
    }

    /// Follows the file until cancelled. Keys that the operator removes are no longer trusted, even all of them. A file
    /// that is missing or no key set is a mistake, and the current keys stay.
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
                        tracing::warn!(%issuer, %file, "{NO_USABLE_KEY}");
                    } else {
                        tracing::info!(%issuer, %file, keys = keys.len(), "{READ_AGAIN}");
                    }
                }
                Err(error) => {
                    tracing::error!(%issuer, %error, "{REFUSED}");
                }
            }
        }
    }

    fn read(&self) -> Result<IssuerKeys, KeySetError> {
        let text = read_bounded(&self.path, self.bounds.bytes)?;
        let set = key_sets::parse(&text, &self.algorithms, self.bounds)
            .map_err(|problem| KeySetError::File(self.path.display().to_string(), problem))?;
        let place = self.path.display().to_string();
        self.left_out.lock().note(&self.issuer, &place, &set);
        Ok(set.keys)
    }
}

fn read_bounded(path: &Path, bytes_max: usize) -> Result<Vec<u8>, KeySetError> {
    let failed = |problem: String| KeySetError::File(path.display().to_string(), problem);
    let size = std::fs::metadata(path)
        .map_err(|error| failed(format!("cannot be read: {error}")))?
        .len();
    if size > bytes_max as u64 {
        return Err(failed(format!(
            "is larger than {bytes_max} bytes; `jwks_bytes` is the limit"
        )));
    }
    std::fs::read(path).map_err(|error| failed(format!("cannot be read: {error}")))
}
