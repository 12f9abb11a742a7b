//! What the program says of itself: schemas for editors, completions for shells, man pages.

use std::path::{Path, PathBuf};

use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;

use super::failure::Failure;

const CONFIG_SCHEMA: &str = include_str!("../../docs/reference/config.schema.json");
const POLICY_SCHEMA: &str = include_str!("../../docs/reference/policy.schema.json");

/// The kinds of files that have a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Document {
    /// The config that `serve` and `check` read
    Config,
    /// The file of `policy.source: file`
    Policy,
}

#[derive(Args)]
pub(super) struct SchemaArgs {
    /// Of which file
    #[arg(value_name = "DOCUMENT", value_enum, default_value_t = Document::Config)]
    document: Document,
}

#[derive(Args)]
pub(super) struct CompletionsArgs {
    /// The shell that reads them
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Args)]
pub(super) struct ManArgs {
    /// The folder, which is made if it is missing
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(super) fn schema(args: &SchemaArgs) -> Result<(), Failure> {
    print(match args.document {
        Document::Config => CONFIG_SCHEMA.as_bytes(),
        Document::Policy => POLICY_SCHEMA.as_bytes(),
    })
}

pub(super) fn completions(args: &CompletionsArgs, command: &mut Command) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, command, "portcullis", &mut text);
    print(&text)
}

pub(super) fn man(args: &ManArgs, command: Command) -> Result<(), Failure> {
    let failed = |path: &Path, error: &std::io::Error| {
        Failure::input(format_args!("{} cannot be written: {error}", path.display()))
    };
    std::fs::create_dir_all(&args.dir).map_err(|error| failed(&args.dir, &error))?;
    clap_mangen::generate_to(command, &args.dir).map_err(|error| failed(&args.dir, &error))
}

/// Writes to standard output. A reader that has seen enough and closed it is no failure.
fn print(text: &[u8]) -> Result<(), Failure> {
    use std::io::Write as _;
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::input(format_args!(
            "standard output cannot be written: {error}"
        ))),
        _ => Ok(()),
    }
}
