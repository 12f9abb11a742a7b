//! A secret from the person at the terminal, a pipe or a file: never from the command line, where others see it.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::failure::Failure;

/// The longest secret read, in bytes.
const BYTES_MAX: u64 = 4_096;

/// A secret that somebody gave us. It has no `Debug`.
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
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
        None => line()?,
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

/// One line of the standard input.
fn line() -> Result<Zeroizing<String>, Failure> {
    let failed = |error| Failure::input(format_args!("the standard input cannot be read: {error}"));
    let mut text = Zeroizing::new(String::new());
    let input = std::io::stdin().lock();
    input.take(BYTES_MAX).read_line(&mut text).map_err(failed)?;
    let kept = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(kept);
    Ok(text)
}

fn from_terminal(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let silence = Silence::begin()?;
    let first = asked(prompt)?;
    let second = asked("The same again")?;
    drop(silence);
    if *first == *second {
        Ok(first)
    } else {
        Err(Failure::Input(
            "the two passwords differ; nothing was changed".to_owned(),
        ))
    }
}

fn asked(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    eprint!("{prompt}: ");
    let _ = std::io::stderr().flush();
    let text = line()?;
    eprintln!();
    Ok(text)
}

/// The terminal, showing nothing of what is typed until this is dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> Result<Self, Failure> {
        let failed = |error| Failure::input(format_args!("the terminal cannot be silenced: {error}"));
        let before = tcgetattr(std::io::stdin()).map_err(failed)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
