//! What is wrong with a file, and where.

use std::fmt;
use std::path::PathBuf;

use super::yaml::excerpt::Excerpt;

/// A file that cannot be used: every problem found in it.
#[derive(Clone, Debug)]
pub struct ConfigError {
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// One problem of a whole file.
    #[must_use]
    pub fn of_file(file: &std::path::Path, message: String) -> Self {
        Self {
            problems: vec![Problem::of_file(file, message)],
        }
    }
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, and the operator should know. The number never gets another meaning: `W001`.
    Warning(u16),
}

/// One problem of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    pub file: PathBuf,
    /// Line and column, from 1; `None` where the problem is the file itself.
    pub place: Option<(u64, u64)>,
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line at `place`, without values that may be secret.
    pub excerpt: Option<Excerpt>,
}

impl Problem {
    /// A problem of a whole file.
    #[must_use]
    pub fn of_file(file: &std::path::Path, message: String) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            place: None,
            message,
            hint: None,
            excerpt: None,
        }
    }

    /// An error at a place.
    #[must_use]
    pub fn at(file: &std::path::Path, place: Option<(u64, u64)>, message: String, hint: String) -> Self {
        Self {
            place,
            hint: Some(hint),
            ..Self::of_file(file, message)
        }
    }

    /// `FILE:LINE:COLUMN`, as far as known.
    #[must_use]
    pub fn position(&self) -> String {
        let file = self.file.display();
        match self.place {
            Some((line, column)) => format!("{file}:{line}:{column}"),
            None => file.to_string(),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error => f.write_str("error"),
            Self::Warning(code) => write!(f, "warning[W{code:03}]"),
        }
    }
}

/// As editors and CI read it: `FILE:LINE:COLUMN: error: MESSAGE`, then the line and the hint.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.position(), self.severity, self.message)?;
        if let (Some(excerpt), Some((line, _))) = (&self.excerpt, self.place) {
            let number = line.to_string();
            let (width, mark) = (number.len(), excerpt.mark);
            write!(
                f,
                "\n  {number} | {}\n  {:width$} | {:mark$}^",
                excerpt.line, "", ""
            )?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
