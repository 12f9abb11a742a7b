//! `portcullis check`: every problem of a config, or of a policy file, with its place and what to do about it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::check_online;
use super::failure::Failure;
use super::preflight;
use super::preflight::Checked;
use crate::clock::Clock;
use crate::config;
use crate::config::{Config, ConfigError, Problem, Severity};
use crate::domain::time::UnixSeconds;

/// The longest standard input read, in bytes: as long as the longest policy file.
const INPUT_BYTES_MAX: u64 = 64 << 20;

/// How problems are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// `FILE:LINE:COLUMN: error: ...` on standard error, as editors and CI read it
    Text,
    /// One JSON object on standard output
    Json,
}

#[derive(Args)]
pub(super) struct CheckArgs {
    /// The config or policy file (YAML); `-` reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How to write the problems
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Treat warnings as errors: exit 1
    #[arg(long)]
    strict: bool,
    /// Fetch the key set of each issuer, and say what it holds
    #[arg(long)]
    online: bool,
}

/// One problem in JSON.
#[derive(Serialize)]
struct ProblemJson<'p> {
    severity: &'static str,
    /// `W001`; null for an error.
    code: Option<String>,
    file: String,
    line: Option<u64>,
    column: Option<u64>,
    message: &'p str,
    hint: Option<&'p str>,
}

#[derive(Serialize)]
struct ReportJson<'p> {
    file: String,
    ok: bool,
    problems: Vec<ProblemJson<'p>>,
    /// What else there is to say of a good file.
    notes: &'p [String],
}

/// What a check found in a good file.
#[derive(Default)]
pub(super) struct Report {
    notes: Vec<String>,
    warnings: Vec<Problem>,
    /// `None` for a policy file.
    config: Option<Config>,
}

impl Report {
    fn of_policy(warnings: Vec<Problem>) -> Self {
        Self {
            warnings,
            ..Self::default()
        }
    }
}

pub(super) async fn check(args: CheckArgs) -> Result<(), Failure> {
    let (mut notes, mut problems) = (Vec::new(), Vec::new());
    match checked(&args.file) {
        Ok(report) => {
            (notes, problems) = (report.notes, report.warnings);
            if let Some(config) = report.config.filter(|_| args.online) {
                let (found, unreachable) = check_online::key_sets(&config).await;
                notes.extend(found);
                problems.extend(unreachable);
            }
        }
        Err(error) => problems.extend(error.problems),
    }
    let is_wrong = |one: &Problem| args.strict || one.severity == Severity::Error;
    let is_ok = !problems.iter().any(is_wrong);
    match args.output {
        Output::Json => print_json(&args.file, is_ok, &problems, &notes)?,
        Output::Text => {
            for problem in &problems {
                eprintln!("{problem}");
            }
            if is_ok {
                notes.iter().for_each(|note| println!("{note}"));
                println!("{}: fine", args.file.display());
            }
        }
    }
    match is_ok {
        true => Ok(()),
        false => Err(Failure::Reported),
    }
}

fn checked(path: &Path) -> Result<Report, ConfigError> {
    let now = Clock::System.now();
    let text = match path == Path::new("-") {
        true => standard_input(path)?,
        false => match config::read_text(path) {
            Ok(text) => text,
            // A policy file may be larger than a config.
            Err(error) => return policy_or(path, error),
        },
    };
    checked_text(path, &text, now)
}

/// Checks a text that stands at `path`.
pub(super) fn checked_text(path: &Path, text: &str, now: UnixSeconds) -> Result<Report, ConfigError> {
    if config::is_policy(text) {
        return config::check_policy(path, text, now).map(Report::of_policy);
    }
    let Checked {
        config,
        warnings,
        certificates,
    } = preflight::read_text(path, text, now)?;
    let notes = certificates.iter().map(|(address, certificate)| {
        let names = match certificate.names.is_empty() {
            true => "no name (it is only shown where no other fits)".to_owned(),
            false => certificate.names.join(", "),
        };
        let days = certificate.expires_at.since(now) / 86_400;
        let file = certificate.file.display();
        format!("{address}: {file} for {names}, valid for {days} days more")
    });
    Ok(Report {
        notes: notes.collect(),
        warnings,
        config: Some(config),
    })
}

/// A file that is larger than a config may be, where it is a policy file.
fn policy_or(path: &Path, error: ConfigError) -> Result<Report, ConfigError> {
    let is_small = std::fs::metadata(path).is_ok_and(|held| held.len() <= INPUT_BYTES_MAX);
    match std::fs::read_to_string(path) {
        Ok(text) if is_small && config::is_policy(&text) => {
            config::check_policy(path, &text, Clock::System.now()).map(Report::of_policy)
        }
        _ => Err(error),
    }
}

fn standard_input(path: &Path) -> Result<String, ConfigError> {
    let mut text = String::new();
    let input = std::io::stdin().lock();
    match input.take(INPUT_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(ConfigError::of_file(
            path,
            format!("the standard input cannot be read: {error}"),
        )),
    }
}

fn print_json(file: &Path, ok: bool, problems: &[Problem], notes: &[String]) -> Result<(), Failure> {
    let problems = problems.iter().map(|one| ProblemJson {
        severity: match one.severity {
            Severity::Error => "error",
            Severity::Warning(_) => "warning",
        },
        code: match one.severity {
            Severity::Error => None,
            Severity::Warning(code) => Some(format!("W{code:03}")),
        },
        file: one.file.display().to_string(),
        line: one.place.map(|(line, _)| line),
        column: one.place.map(|(_, column)| column),
        message: &one.message,
        hint: one.hint.as_deref(),
    });
    let report = ReportJson {
        file: file.display().to_string(),
        ok,
        problems: problems.collect(),
        notes,
    };
    let text = serde_json::to_string_pretty(&report).map_err(Failure::internal)?;
    println!("{text}");
    Ok(())
}
