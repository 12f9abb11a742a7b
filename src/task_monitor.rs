//! Tasks that the process cannot do without: what becomes of it when one of them panics.
//!
//! A request that panics ends alone, with its connection. But a process whose listener, feed or reload has gone
//! looks alive and is not: its supervisor must notice and restart it.

use tokio::sync::watch;

/// Watches over tasks, and tells when one of them has fallen.
#[derive(Clone, Debug)]
pub struct TaskMonitor(watch::Sender<Option<&'static str>>);

/// Tells that a task or thread has fallen, when it is dropped by a panic.
#[derive(Debug)]
pub struct Watched {
    name: &'static str,
    monitor: TaskMonitor,
}

impl Default for TaskMonitor {
    fn default() -> Self {
        Self(watch::channel(None).0)
    }
}

impl TaskMonitor {
    /// `task`, watched over.
    pub fn watch<T: Future>(&self, name: &'static str, task: T) -> impl Future<Output = T::Output> + use<T> {
        let watched = self.begin(name);
        async move {
            let _watched = watched;
            #[cfg(feature = "test-util")]
            fall_if_told(name);
            task.await
        }
    }

    /// Watches over what runs until the value is dropped.
    #[must_use]
    pub fn begin(&self, name: &'static str) -> Watched {
        Watched {
            name,
            monitor: self.clone(),
        }
    }

    /// Resolves when a task has fallen, to its name.
    pub async fn panicked(&self) -> &'static str {
        let mut fell = self.0.subscribe();
        loop {
            if let Some(name) = *fell.borrow_and_update() {
                return name;
            }
            // The sender is held here, so this only returns for news.
            let _ = fell.changed().await;
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.monitor.0.send_if_modified(|fell| {
                let is_first = fell.is_none();
                *fell = fell.or(Some(self.name));
                is_first
            });
        }
    }
}

/// Lets tests see what becomes of the process. No build that serves has this.
#[cfg(feature = "test-util")]
#[expect(clippy::panic, reason = "it is there to panic")]
fn fall_if_told(name: &str) {
    if crate::config::falling_task().is_some_and(|told| told == *name) {
        panic!("told to");
    }
}
