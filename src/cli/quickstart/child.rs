//! Processes that the quickstart starts next to itself: asked to end with it, and killed where they do not.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::config::write_secret;
use crate::cli::failure::Failure;

/// How long a process may take to end once it was asked to.
const END_WITHIN: Duration = Duration::from_secs(10);

/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A process that runs until it is stopped or dropped.
pub(super) struct ChildProcess {
    name: String,
    log: PathBuf,
    child: Child,
}

impl ChildProcess {
    /// Starts this program with `args`. Its standard error goes to `DIR/NAME.log`, its number to `DIR/NAME.pid`.
    ///
    /// # Errors
    /// The program or a file cannot be used.
    pub(super) fn start(dir: &Path, name: &str, args: &[&str], stdin: Stdio) -> Result<Self, Failure> {
        let log = dir.join(format!("{name}.log"));
        let cannot =
            |error: std::io::Error| Failure::input(format_args!("{name} cannot be started: {error}"));
        let mut options = File::options();
        let file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&log);
        let child = Command::new(std::env::current_exe().map_err(cannot)?)
            .args(args)
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(file.map_err(cannot)?)
            // Ctrl-C reaches the quickstart alone, which then stops its processes in order.
            .process_group(0)
            .spawn()
            .map_err(cannot)?;
        let child = Self {
            name: name.to_owned(),
            log,
            child,
        };
        write_secret(
            &dir.join(format!("{name}.pid")),
            &format!("{}\n", child.child.id()),
        )?;
        Ok(child)
    }

    /// What it has logged so far.
    ///
    /// # Errors
    /// It has ended; its last line says why.
    pub(super) fn log(&mut self) -> Result<String, Failure> {
        let ended = self.child.try_wait().map_err(Failure::internal)?;
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        match ended {
            None => Ok(text),
            Some(_) => Err(Failure::Environment(format!(
                "{} ended at its start: {}; its log is {}",
                self.name,
                text.lines().last().unwrap_or("no reason given"),
                self.log.display()
            ))),
        }
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended already.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits until it has ended. One that does not end in time is killed.
    pub(super) async fn ended(mut self) {
        let ended = async {
            while let Ok(None) = self.child.try_wait() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let _ = tokio::time::timeout(END_WITHIN, ended).await;
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
