//! Watches files for changes: their folders by the system's notifications, and the files at intervals.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::Watcher as _;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

const NOT_WATCHED: &str = "folders cannot be watched; polling their files";

/// How long files must be left alone before they are read: those that belong together are written one
/// after the other.
const SETTLED_AFTER: Duration = Duration::from_millis(50);

/// Watches some files. Make it on a runtime.
pub struct FileWatch {
    _watcher: Option<notify::RecommendedWatcher>,
    changed: mpsc::Receiver<()>,
    looks: Interval,
}

impl FileWatch {
    /// Watches `files`; where their folders cannot be watched, `every` alone says when to look.
    #[must_use]
    pub fn new<'f>(files: impl Iterator<Item = &'f PathBuf>, every: Duration) -> Self {
        let (changed_in, changed) = mpsc::channel(1);
        let mut folders: Vec<&Path> = files.map(|file| folder(file)).collect();
        folders.sort_unstable();
        folders.dedup();
        let watcher = watcher(&folders, changed_in)
            .map_err(|error| tracing::warn!(%error, ?folders, ?every, "{NOT_WATCHED}"))
            .ok();
        let mut looks = tokio::time::interval(every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            _watcher: watcher,
            changed,
            looks,
        }
    }

    /// Resolves when it is time to look at the files again; the first time at once.
    pub async fn next(&mut self) {
        tokio::select! {
            Some(()) = self.changed.recv() => {
                tokio::time::sleep(SETTLED_AFTER).await;
                let _ = self.changed.try_recv();
            }
            _ = self.looks.tick() => {}
        }
    }
}

/// The folder is watched, since editors and config managers replace the file itself.
fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn watcher(folders: &[&Path], changed: mpsc::Sender<()>) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |_: notify::Result<notify::Event>| {
        let _ = changed.try_send(());
    })?;
    for folder in folders {
        watcher.watch(folder, notify::RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}
