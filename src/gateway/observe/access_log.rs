//! The access log, written by a thread of its own.
//!
//! A request never waits for the log. Lines are lost, and counted, where the writer cannot keep up or the file cannot
//! be written.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::sync::oneshot;

use super::access_record::AccessRecord;
use crate::config;
use crate::config::LogFormat;
use crate::task_monitor::TaskMonitor;

const NOT_WRITTEN: &str =
    "access log cannot be written; its lines are lost and counted in portcullis_access_log_dropped_total";
const WRITTEN_AGAIN: &str = "access log is written again";
const NOT_REOPENED: &str = "access log file cannot be opened; keeping the current one";
const REOPENED: &str = "access log file reopened";

/// Lines that may wait to be written.
const WAITING_MAX: usize = 8 * 1024;

/// Lines that are written at once.
const LINES_AT_ONCE: usize = 256;

/// How long the last lines may take to be written when the process ends.
const FLUSHED_WITHIN: Duration = Duration::from_secs(1);

/// The log.
pub struct AccessLog {
    to_write: SyncSender<ToWrite>,
    format: LogFormat,
    sampler: Sampler,
    dropped: IntCounter,
    path: Option<PathBuf>,
    /// A file that was opened after the one that is written was moved away.
    reopened: Arc<Mutex<Option<File>>>,
}

enum ToWrite {
    Line(String),
    /// Answer once everything before it was written.
    Flush(oneshot::Sender<()>),
}

impl AccessLog {
    /// Opens the log and starts the thread that writes it. Lost lines are counted in `dropped`.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread can be started.
    pub fn start(
        config: &config::AccessLog,
        dropped: IntCounter,
        monitor: &TaskMonitor,
    ) -> std::io::Result<Self> {
        let (to_write, waiting) = sync_channel(WAITING_MAX);
        let reopened = Arc::new(Mutex::new(None));
        let output: Box<dyn Write + Send> = match &config.file {
            Some(path) => Box::new(open(path)?),
            None => Box::new(std::io::stdout()),
        };
        let writer = Writer {
            output,
            reopened: Arc::clone(&reopened),
            dropped: dropped.clone(),
            is_failing: false,
            is_torn: false,
        };
        let watched = monitor.begin("access_log");
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                let _watched = watched;
                writer.run(&waiting);
            })?;
        Ok(Self {
            to_write,
            format: config.format,
            sampler: Sampler::new(config.sample_allowed),
            dropped,
            path: config.file.clone(),
            reopened,
        })
    }

    /// Whether a request is logged: every one that was not simply allowed and answered, and a share of those that were.
    #[must_use]
    pub fn wants(&self, decision: &str, status: u16, is_cut: bool) -> bool {
        decision != "allow" || status >= 500 || is_cut || self.sampler.takes()
    }

    /// Hands over one line, or drops it where too many wait.
    pub fn write(&self, record: &AccessRecord<'_>) {
        let line = ToWrite::Line(record.line(self.format));
        if self.to_write.try_send(line).is_err() {
            self.dropped.inc();
        }
    }

    /// Reopens the file, which log rotation may have moved.
    pub fn reopen(&self) {
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok(file) => {
                *self.reopened.lock() = Some(file);
                tracing::info!(file = %path.display(), "{REOPENED}");
            }
            Err(error) => tracing::error!(%error, file = %path.display(), "{NOT_REOPENED}"),
        }
    }

    /// Resolves when the lines so far were written, or after a second.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.to_write.try_send(ToWrite::Flush(done)).is_ok() {
            let _ = tokio::time::timeout(FLUSHED_WITHIN, written).await;
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path)
        .map_err(|error| std::io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Writes lines to a file or to standard output.
struct Writer {
    output: Box<dyn Write + Send>,
    reopened: Arc<Mutex<Option<File>>>,
    dropped: IntCounter,
    is_failing: bool,
    /// The last line was written in part.
    is_torn: bool,
}

impl Writer {
    /// Ends when the last sender is gone, after the lines that wait were written.
    fn run(mut self, waiting: &Receiver<ToWrite>) {
        let mut lines = String::new();
        while let Ok(first) = waiting.recv() {
            let mut flushed = Vec::new();
            lines.clear();
            for one in std::iter::once(first).chain(waiting.try_iter().take(LINES_AT_ONCE)) {
                match one {
                    ToWrite::Line(line) => {
                        lines.push_str(&line);
                        lines.push('\n');
                    }
                    ToWrite::Flush(done) => flushed.push(done),
                }
            }
            self.write(&lines);
            for done in flushed {
                let _ = done.send(());
            }
        }
    }

    fn write(&mut self, lines: &str) {
        if let Some(file) = self.reopened.lock().take() {
            (self.output, self.is_torn) = (Box::new(file), false);
        }
        let end_of_torn = if self.is_torn { "\n" } else { "" };
        let text = [end_of_torn, lines].concat();
        let (written, result) = write_all(&mut *self.output, text.as_bytes());
        let (done, left) = text.as_bytes().split_at_checked(written).unwrap_or_default();
        self.is_torn = done.last().map_or(self.is_torn, |last| *last != b'\n');
        match result {
            Ok(()) if self.is_failing => {
                self.is_failing = false;
                tracing::info!("{WRITTEN_AGAIN}");
            }
            Ok(()) => {}
            Err(error) => {
                // The end of the torn line is not one more: that line was counted before.
                let is_end_lost = usize::from(written < end_of_torn.len());
                let lost = left.iter().filter(|byte| **byte == b'\n').count() - is_end_lost;
                self.dropped.inc_by(u64::try_from(lost).unwrap_or_default());
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::error!(%error, "{NOT_WRITTEN}");
                }
            }
        }
    }
}

/// Writes all of `bytes`, and says how many were written.
fn write_all(output: &mut dyn Write, bytes: &[u8]) -> (usize, std::io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match output.write(rest) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, output.flush())
}

/// Takes a share of all requests, spread evenly and without a pattern.
struct Sampler {
    /// A request is taken where its number, mixed, is below.
    below: u64,
    takes_all: bool,
    seen: AtomicU64,
}

impl Sampler {
    fn new(share: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of 0 to 1, as exact as it need be; the cast saturates"
        )]
        let below = (share * u64::MAX as f64) as u64;
        Self {
            below,
            takes_all: share >= 1.0,
            seen: AtomicU64::new(0),
        }
    }

    fn takes(&self) -> bool {
        self.takes_all || mixed(self.seen.fetch_add(1, Ordering::Relaxed)) < self.below
    }
}

/// The output function of `SplitMix64`: numbers in a row become numbers without a pattern.
fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampler_takes_the_configured_share() {
        for (share, expected) in [(0.0, 0..=0), (0.01, 800..=1_200), (1.0, 100_000..=100_000)] {
            let sampler = Sampler::new(share);
            let taken = (0..100_000).filter(|_| sampler.takes()).count();
            assert!(expected.contains(&taken), "{share}: {taken}");
        }
    }

    /// Takes some bytes and fails then.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            match taken {
                0 => Err(ErrorKind::StorageFull.into()),
                taken => Ok(taken),
            }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_a_full_disk_does_not_take_are_counted() {
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let mut writer = Writer {
            output: Box::new(Full(6)),
            reopened: Arc::default(),
            dropped: dropped.clone(),
            is_failing: false,
            is_torn: false,
        };
        writer.write("one\ntwo\nthree\n");
        assert_eq!(dropped.get(), 2);
        assert!(writer.is_torn);
        writer.write("four\n");
        assert_eq!(dropped.get(), 3);
    }
}
