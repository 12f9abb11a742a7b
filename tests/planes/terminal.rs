//! Passwords typed at a terminal.

use std::process::Command;

use super::support::process::{Process, portcullis};
use super::support::product::NEW_CONTROL_PLANE;
use super::support::scratch::Scratch;

/// Runs a command on a terminal of its own, sends Ctrl-C at the hidden prompt, and prints the exit code and whether
/// the terminal echoes again.
const INTERRUPT: &str = r#"
import os, pty, subprocess, sys, termios, time
terminal, slave = pty.openpty()
echo = lambda: bool(termios.tcgetattr(slave)[3] & termios.ECHO)
program = subprocess.Popen(sys.argv[1:], stdin=slave, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
deadline = time.monotonic() + 30
while echo() and program.poll() is None and time.monotonic() < deadline:
    time.sleep(0.01)
hidden = not echo()
os.write(terminal, b"half a passw\x03")
print(program.wait(30), hidden, echo())
"#;

#[test]
fn interrupt_at_a_password_prompt_restores_the_terminal() {
    let dir = Scratch::new();
    let config = dir.write("portcullis.yaml", &format!("version: 1\n{NEW_CONTROL_PLANE}"));
    let program = portcullis([]);
    let mut command = Command::new("python3");
    command.args(["-c", INTERRUPT]).arg(program.get_program());
    command
        .args(["admin", "owner", "--email", "a@example.com", "--config"])
        .arg(config);
    let done = Process::run(&mut command);
    assert_eq!(done.stdout, "1 True True", "{}", done.stderr);
}
