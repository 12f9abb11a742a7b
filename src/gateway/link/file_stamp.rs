//! Tells one state of a file from another without reading it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// How long a file must stay the same before it is read.
const SETTLED_AFTER: Duration = Duration::from_millis(50);

/// The most times that is waited for.
const SETTLING_MAX: usize = 20;

/// What changes when a file does: what was written, and into which file. A time alone can be set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds of the last change of the content, and of anything about the file.
    written: (i64, i64),
    changed: (i64, i64),
}

/// Waits while a file is still being written, for a bounded time: half a file is not what was meant.
pub(crate) async fn settled(path: &Path) -> Option<Stamp> {
    let mut before = Stamp::of(path);
    for _ in 0..SETTLING_MAX {
        tokio::time::sleep(SETTLED_AFTER).await;
        let now = Stamp::of(path);
        if now == before {
            break;
        }
        before = now;
    }
    before
}

impl Stamp {
    /// The file as it is now, `None` where there is none.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let held = std::fs::metadata(path).ok()?;
        Some(Self {
            device: held.dev(),
            inode: held.ino(),
            bytes: held.len(),
            written: (held.mtime(), held.mtime_nsec()),
            changed: (held.ctime(), held.ctime_nsec()),
        })
    }
}
