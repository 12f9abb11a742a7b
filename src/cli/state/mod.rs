//! `portcullis export` and `apply`: what a workspace holds, as a file. Both work next to a running server.

mod apply;
mod author;
mod current;
mod export;
mod plan;
mod resources;
mod wanted;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;

use self::current::Current;
use self::wanted::Wanted;
use super::admin::store_access::control_config;
use super::failure::Failure;
use super::planes;
use crate::clock::Clock;
use crate::config;
use crate::control::Control;

/// The longest state file read, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

#[derive(Args)]
pub(super) struct StoreArgs {
    /// The config file (YAML) that names the store
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_CONFIG")]
    config: PathBuf,
    /// The id of the workspace, or its name
    #[arg(long, value_name = "WORKSPACE")]
    workspace: String,
}

#[derive(Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The file to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The file to read [default: standard input]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) const EXPORTED: &str = "\
The file holds apps with their public keys, sources with connection and enforcement, and members with their roles. It \
holds no write key, no password and no token.";

pub(super) const APPLIED: &str = "\
The whole file is checked before the first change. Each change is audited. What the workspace holds beyond the file stays, and \
is listed. If a change fails, the changes before it stay and are listed: correct the cause and run the command again.";

pub(super) async fn export(args: ExportArgs) -> Result<(), Failure> {
    let control = open(&args.store).await?;
    let current = Current::read(&control, &args.store.workspace).await;
    control.close().await;
    let text = export::text(&current?);
    match &args.file {
        None => print!("{text}"),
        Some(path) => std::fs::write(path, text)
            .map_err(|error| Failure::input(format_args!("{} cannot be written: {error}", path.display())))?,
    }
    Ok(())
}

pub(super) async fn apply(args: ApplyArgs) -> Result<(), Failure> {
    let path = args.file.as_deref().unwrap_or(Path::new("-"));
    let file = config::state_file(path, &text_of(path)?)?;
    let wanted = Wanted::of(file).map_err(|problems| all(path, &problems))?;
    let control = open(&args.store).await?;
    let done = apply_to(&control, &args, path, &wanted).await;
    control.close().await;
    done
}

async fn apply_to(control: &Control, args: &ApplyArgs, path: &Path, wanted: &Wanted) -> Result<(), Failure> {
    let current = Current::read(control, &args.store.workspace).await?;
    let plan = plan::plan(&current, wanted).map_err(|problems| all(path, &problems))?;
    for rest in &plan.left_alone {
        println!("left alone: {rest}");
    }
    if plan.steps.is_empty() {
        println!("Nothing to change.");
        return Ok(());
    }
    if args.dry_run {
        plan.steps
            .iter()
            .for_each(|step| println!("would {}", step.words));
        return Ok(());
    }
    apply::run(control, &current, wanted, &plan).await
}

/// Every problem of a file that its structure does not show.
fn all(path: &Path, problems: &[String]) -> Failure {
    let file = path.display();
    let lines: Vec<String> = problems
        .iter()
        .map(|one| format!("{file}: error: {one}"))
        .collect();
    Failure::input(format_args!("nothing was changed\n{}", lines.join("\n")))
}

fn text_of(path: &Path) -> Result<String, Failure> {
    let failed =
        |error: std::io::Error| Failure::input(format_args!("{} cannot be read: {error}", path.display()));
    let mut text = String::new();
    match path == Path::new("-") {
        true => std::io::stdin()
            .lock()
            .take(FILE_BYTES_MAX)
            .read_to_string(&mut text),
        false => {
            let file = std::fs::File::open(path).map_err(failed)?;
            file.take(FILE_BYTES_MAX).read_to_string(&mut text)
        }
    }
    .map_err(failed)?;
    Ok(text)
}

/// Opens the store next to a running server.
async fn open(args: &StoreArgs) -> Result<Control, Failure> {
    let config = control_config(&args.config)?;
    let settings = planes::control_settings(&config, &config.listen);
    Ok(Control::open_for_admin(settings, Clock::System).await?)
}
