//! `portcullis diff`: what two configs, or two policy files, decide differently, in words.

mod config;
mod findings;
mod gateway;
mod issuers;
mod policy;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use self::findings::Findings;
use super::failure::Failure;
use crate::clock::Clock;
use crate::config as files;
use crate::config::{Config, ConfigError, PolicyOrigin};
use crate::domain::time::UnixSeconds;
use crate::snapshot::Snapshot;

/// How the differences are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// One JSON object
    Json,
}

#[derive(Args)]
pub(super) struct DiffArgs {
    /// The file as it is now
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The file as it will be; of the same kind
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// How to write the differences
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// A file of one of the two kinds.
enum Document {
    Config(Box<Config>),
    Policy(Snapshot),
}

/// Compares two files. Differences are no failure: the exit code is 0.
pub(super) fn diff(args: &DiffArgs) -> Result<(), Failure> {
    let now = Clock::System.now();
    let mut findings = Findings::default();
    match (read(&args.old, now)?, read(&args.new, now)?) {
        (Document::Policy(old), Document::Policy(new)) => policy::compare(&old, &new, &mut findings),
        (Document::Config(old), Document::Config(new)) => {
            config::compare(&old, &new, &mut findings);
            if let (Some(old), Some(new)) = (policy_of(&old, now)?, policy_of(&new, now)?) {
                policy::compare(&old, &new, &mut findings);
            }
        }
        (Document::Config(_), Document::Policy(_)) | (Document::Policy(_), Document::Config(_)) => {
            return Err(Failure::input(
                "one file is a config and the other a policy file; name two files of one kind",
            ));
        }
    }
    match args.output {
        Output::Json => println!(
            "{}",
            serde_json::to_string_pretty(&findings.to_json()).map_err(Failure::internal)?
        ),
        Output::Text => print!("{}", findings.to_text()),
    }
    Ok(())
}

/// The differences of two policies, as text.
pub(super) fn differences(old: &Snapshot, new: &Snapshot) -> String {
    let mut findings = Findings::default();
    policy::compare(old, new, &mut findings);
    findings.to_text()
}

fn read(path: &Path, now: UnixSeconds) -> Result<Document, ConfigError> {
    match files::policy_alone(path, now) {
        Some(policy) => policy.map(Document::Policy),
        None => files::load(path).map(|config| Document::Config(Box::new(config))),
    }
}

/// The policy file that a config names.
fn policy_of(config: &Config, now: UnixSeconds) -> Result<Option<Snapshot>, ConfigError> {
    match &config.policy {
        PolicyOrigin::File(path) => files::load_policy(path, &config.issuers, 1, now).map(Some),
        PolicyOrigin::Bundled | PolicyOrigin::Remote(_) => Ok(None),
    }
}
