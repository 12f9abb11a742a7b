//! Programs that tests run: started, read line by line with a deadline, and ended by their own id.
#![expect(
    clippy::disallowed_methods,
    reason = "what other processes do takes real time, and a hang must end"
)]

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Nothing here takes this long unless it hangs.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The built program, in an environment of its own.
pub fn portcullis<const N: usize>(args: [&str; N]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(args).env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    pub stdout: Lines,
    pub stderr: Lines,
}

/// What a program left behind.
pub struct Finished {
    /// `None` where a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started ({error}); run `make setup` first"));
        Self {
            stdin: child.stdin.take(),
            stdout: Lines::of(child.stdout.take().unwrap()),
            stderr: Lines::of(child.stderr.take().unwrap()),
            name,
            child,
        }
    }

    /// Runs a program to its end.
    pub fn run(command: &mut Command) -> Finished {
        let mut process = Self::start(command);
        process.stdin = None;
        process.finish()
    }

    /// Sends a line to its standard input.
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, as an init system would.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(sent.success(), "{} is gone already", self.name);
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(self) -> Finished {
        self.terminate();
        self.finish()
    }

    /// Waits until it has ended, although other processes may still write to its output.
    pub fn wait(&mut self) -> Option<i32> {
        eventually("the program has ended", || {
            self.child.try_wait().unwrap().is_some()
        });
        self.child.wait().unwrap().code()
    }

    /// Waits until it has ended.
    pub fn finish(mut self) -> Finished {
        // A program's output ends no earlier than it does.
        let stdout = self.stdout.all();
        let stderr = self.stderr.all();
        Finished {
            code: self.child.wait().unwrap().code(),
            stdout,
            stderr,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines that a program has written so far.
#[derive(Clone)]
pub struct Lines(Arc<(Mutex<Written>, Condvar)>);

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let lines = Self(Arc::default());
        let filled = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n') {
                let Ok(line) = line else { break };
                filled.change(|written| written.lines.push(String::from_utf8_lossy(&line).into_owned()));
            }
            filled.change(|written| written.ended = true);
        });
        lines
    }

    fn change(&self, change: impl FnOnce(&mut Written)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    /// Waits until `found` finds what it wants in the lines so far.
    pub fn wait_for<T>(&self, what: &str, mut found: impl FnMut(&[String]) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut written = self.0.0.lock().unwrap();
        loop {
            if let Some(wanted) = found(&written.lines) {
                return wanted;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!written.ended, "the program ended before {what}");
            assert!(!left.is_zero(), "no {what} within {DEADLINE:?}");
            written = self.0.1.wait_timeout(written, left).unwrap().0;
        }
    }

    /// What has been written until now.
    pub fn so_far(&self) -> Vec<String> {
        self.0.0.lock().unwrap().lines.clone()
    }

    /// Everything, once the program has closed this output.
    fn all(&self) -> String {
        let deadline = Instant::now() + DEADLINE;
        let mut written = self.0.0.lock().unwrap();
        while !written.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the program does not end");
            written = self.0.1.wait_timeout(written, left).unwrap().0;
        }
        written.lines.join("\n")
    }
}

/// Asks again and again until the answer is right; for what may take a moment and announces itself to nobody.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}
