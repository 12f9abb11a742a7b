//! A secret from the person at the terminal, a pipe or a file: never from the command line, where others see it.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::failure::Failure;
use crate::control::{ControlError, ids};

/// The longest secret read, in bytes.
const BYTES_MAX: u64 = 4_096;

/// Letters and digits of a random secret: 238 bits.
const RANDOM_CHARS: usize = 40;

/// What Ctrl-C and Ctrl-\ send.
const INTERRUPT: u8 = 0x03;
const QUIT: u8 = 0x1c;

/// A secret that was read. It has no `Debug`.
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
    /// One that nobody knows.
    pub(super) fn random() -> Result<Self, ControlError> {
        ids::alphanumerics(RANDOM_CHARS).map(Self)
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

/// Reads a secret: from `file`, or, with nothing shown, from the terminal, twice, or else the first line of the
/// standard input.
pub(super) fn secret(file: Option<&Path>, prompt: &str) -> Result<Secret, Failure> {
    let text = match file {
        Some(path) => from_file(path)?,
        None if std::io::stdin().is_terminal() => from_terminal(prompt)?,
        None => line(b"\n")?,
    };
    if text.is_empty() {
        return Err(Failure::Input("the password is empty".to_owned()));
    }
    Ok(Secret(text))
}

fn from_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let failed =
        |error: std::io::Error| Failure::input(format_args!("{} cannot be read: {error}", path.display()));
    let mut text = Zeroizing::new(String::new());
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    let kept = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(kept);
    Ok(text)
}

/// One line of the standard input: up to a byte of `ends`, which is kept unless it is a line feed.
fn line(ends: &[u8]) -> Result<Zeroizing<String>, Failure> {
    let failed = |problem: &dyn std::fmt::Display| {
        Failure::input(format_args!("the standard input cannot be read: {problem}"))
    };
    let mut text = Zeroizing::new(Vec::new());
    let mut input = std::io::stdin().lock().take(BYTES_MAX);
    loop {
        let read = input.fill_buf().map_err(|error| failed(&error))?;
        let end = read.iter().position(|byte| ends.contains(byte));
        let count = end.map_or(read.len(), |at| at + 1);
        text.extend(read.iter().take(count));
        input.consume(count);
        if end.is_some() || count == 0 {
            break;
        }
    }
    let text = std::str::from_utf8(&text).map_err(|_| failed(&"it is not UTF-8"))?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn from_terminal(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let silence = HiddenInput::begin()?;
    let first = prompted(prompt)?;
    let second = prompted("Repeat it")?;
    drop(silence);
    if *first == *second {
        Ok(first)
    } else {
        Err(Failure::Input(
            "the two passwords differ; nothing was changed".to_owned(),
        ))
    }
}

fn prompted(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    eprint!("{prompt}: ");
    let _ = std::io::stderr().flush();
    let text = line(&[b'\n', INTERRUPT, QUIT])?;
    eprintln!();
    if text.contains([char::from(INTERRUPT), char::from(QUIT)]) {
        return Err(Failure::Input("interrupted; nothing was changed".to_owned()));
    }
    Ok(text)
}

/// The terminal, which shows nothing of what is typed until this is dropped.
///
/// Ctrl-C and Ctrl-\ end the line instead of the process, which would leave the terminal without echo.
struct HiddenInput(Termios);

impl HiddenInput {
    fn begin() -> Result<Self, Failure> {
        let failed = |error| Failure::input(format_args!("the terminal cannot hide the input: {error}"));
        let before = tcgetattr(std::io::stdin()).map_err(failed)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        silent.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        silent.special_codes[SpecialCodeIndex::VEOL2] = QUIT;
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
