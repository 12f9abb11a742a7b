//! `portcullis admin audit list` and `export`: the trail of the whole server, also while `portcullis serve` runs.
//! The management API shows the events of one workspace; here are those of no workspace, too.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::store_access::{ConfigArgs, control_config};
use crate::cli::failure::Failure;
use crate::control::{CSV_COLUMNS, csv_line, json_line};
use crate::domain::time::UnixSeconds;
use crate::model::audit::AuditRow;
use crate::store::Store;
use crate::store::audit::AuditRecord;

/// Events read at once.
const AT_ONCE: u32 = 500;

#[derive(Args)]
pub(crate) struct FilterArgs {
    /// Events of this workspace only; `-` for those of no workspace
    #[arg(long, value_name = "ID")]
    workspace: Option<String>,
    /// Events with this action only, such as `token.revoked`
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Events of this actor only: an id, or a member's e-mail address
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,
    /// Events from this moment on (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<jiff::Timestamp>,
    /// Events before this moment (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until: Option<jiff::Timestamp>,
}

impl FilterArgs {
    fn takes(&self, row: &AuditRow) -> bool {
        let is = |wanted: &Option<String>, held: &str| wanted.as_ref().is_none_or(|wanted| wanted == held);
        let of_workspace = match self.workspace.as_deref() {
            None => true,
            Some("-") => row.workspace.is_none(),
            Some(id) => row.workspace.as_deref() == Some(id),
        };
        let by = self.actor.as_ref();
        let at = i64::try_from(row.at.0).unwrap_or(i64::MAX);
        of_workspace
            && is(&self.action, &row.action)
            && by.is_none_or(|by| *by == row.actor_id || by.to_lowercase() == row.actor_name)
            && self.since.is_none_or(|since| at >= since.as_second())
            && self.until.is_none_or(|until| at < until.as_second())
    }
}

#[derive(Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// How many events at most, the newest first
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
}

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// One JSON object a line
    Ndjson,
    /// RFC 4180, with a line of names
    Csv,
}

#[derive(Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// The form of the export
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Form::Ndjson)]
    format: Form,
    /// The file to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Prints the newest events, one a line.
pub(crate) async fn list(args: &ListArgs) -> Result<(), Failure> {
    let store = open(&args.config).await?;
    let found = newest(&store, &args.filter, args.limit).await;
    store.close().await;
    let found = found?;
    if found.is_empty() {
        println!("No event.");
    }
    for record in found {
        let row = record.row;
        println!(
            "{}  {}  {} {}  {} {}{}",
            shown_time(row.at),
            row.action,
            row.actor_type,
            shown(&row.actor_name),
            row.resource_type,
            shown(&row.resource_name),
            row.workspace.map(|id| format!("  ({id})")).unwrap_or_default()
        );
    }
    Ok(())
}

async fn newest(store: &Store, filter: &FilterArgs, limit: usize) -> Result<Vec<AuditRecord>, Failure> {
    let mut tx = store.read().await?;
    let (begin, end) = tx.audit_chain().await?;
    let (mut found, mut below) = (Vec::new(), end.position);
    while below > begin.position && found.len() < limit {
        let from = below.saturating_sub(i64::from(AT_ONCE)).max(begin.position);
        let mut page = tx.audit_events_after(from, AT_ONCE).await?;
        page.retain(|record| record.position <= below && filter.takes(&record.row));
        page.reverse();
        found.extend(page);
        below = from;
    }
    found.truncate(limit);
    Ok(found)
}

/// Writes every event, the oldest first.
pub(crate) async fn export(args: &ExportArgs) -> Result<(), Failure> {
    let store = open(&args.config).await?;
    let written = match &args.file {
        None => write_to(&store, args, std::io::stdout().lock()).await,
        Some(path) => match File::options().write(true).create_new(true).open(path) {
            Ok(file) => write_to(&store, args, file).await,
            Err(error) => Err(not_written(&error)),
        },
    };
    store.close().await;
    written
}

async fn write_to(store: &Store, args: &ExportArgs, to: impl Write) -> Result<(), Failure> {
    let mut out = BufWriter::new(to);
    if args.format == Form::Csv {
        out.write_all(CSV_COLUMNS.as_bytes())
            .map_err(|error| not_written(&error))?;
    }
    let mut after = 0;
    loop {
        // A view of its own for each page: an export that takes long holds back nothing in the store.
        let page = store.read().await?.audit_events_after(after, AT_ONCE).await?;
        let Some(last) = page.last().map(|record| record.position) else {
            break;
        };
        for record in page.into_iter().filter(|record| args.filter.takes(&record.row)) {
            let line = match args.format {
                Form::Ndjson => json_line(record.row).map_err(Failure::internal)?,
                Form::Csv => csv_line(&record.row),
            };
            out.write_all(line.as_bytes())
                .map_err(|error| not_written(&error))?;
        }
        after = last;
    }
    out.flush().map_err(|error| not_written(&error))
}

fn not_written(error: &std::io::Error) -> Failure {
    Failure::input(format_args!("the export cannot be written: {error}"))
}

/// Reading changes nothing, so it needs no turn among the changes of a running server.
async fn open(args: &ConfigArgs) -> Result<Store, Failure> {
    let config = control_config(&args.config)?;
    Ok(Store::open_to_read(&config.store).await?)
}

fn shown(text: &str) -> String {
    format!("`{}`", text.escape_debug())
}

fn shown_time(at: UnixSeconds) -> String {
    let moment = i64::try_from(at.0)
        .ok()
        .and_then(|at| jiff::Timestamp::from_second(at).ok());
    moment.map_or_else(|| at.to_string(), |moment| moment.to_string())
}
