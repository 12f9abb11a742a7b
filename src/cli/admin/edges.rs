//! `portcullis admin edges`: enrols, lists, rotates and revokes edges, also while `portcullis serve` runs.

use std::path::Path;

use clap::{Args, Subcommand};

use super::store_access::{ConfigArgs, OPERATOR, control_config, refused};
use crate::cli::failure::Failure;
use crate::cli::planes;
use crate::clock::Clock;
use crate::control::Control;
use crate::domain::ids::EdgeId;

#[derive(Subcommand)]
pub(super) enum EdgesCommand {
    /// Print a token that enrols one edge within an hour; nothing else goes to stdout
    JoinToken(JoinTokenArgs),
    /// List edges and their running instances
    List(ListArgs),
    /// Ask an edge to replace its key pair when it next connects
    Rotate(EdgeArgs),
    /// Revoke an edge: it refuses what is enforced within `policy.max_age`
    Revoke(EdgeArgs),
}

#[derive(Args)]
pub(super) struct JoinTokenArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The name of the edge, such as `fra-1`
    #[arg(long)]
    name: String,
}

#[derive(Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Args)]
pub(super) struct EdgeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The id or the name of the edge
    #[arg(value_name = "EDGE")]
    edge: String,
}

pub(super) async fn edges(command: EdgesCommand) -> Result<(), Failure> {
    match command {
        EdgesCommand::JoinToken(args) => join_token(&args).await,
        EdgesCommand::List(args) => list(&args).await,
        EdgesCommand::Rotate(args) => rotate(&args).await,
        EdgesCommand::Revoke(args) => revoke(&args).await,
    }
}

async fn join_token(args: &JoinTokenArgs) -> Result<(), Failure> {
    let control = open(&args.config.config).await?;
    let made = control.edges.create_join_token(&OPERATOR, &args.name).await;
    control.close().await;
    println!("{}", made.map_err(refused)?.expose());
    Ok(())
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let control = open(&args.config.config).await?;
    let listed = async {
        let edges = control.edges.list(&OPERATOR).await?;
        let states = control.instances.states(None).await?;
        let newest = control.changes.newest_version().await?;
        Ok((edges, states, newest))
    };
    let listed = listed.await;
    control.close().await;
    let (edges, states, newest) = listed.map_err(refused)?;
    if edges.is_empty() {
        println!("No edges. Enrol one with: portcullis admin edges join-token --config FILE --name NAME");
    }
    for edge in edges {
        let revoked = if edge.revoked_at.is_some() {
            ", revoked"
        } else {
            ""
        };
        println!("{}  {}{revoked}", edge.id, edge.name.as_str());
        for state in states
            .iter()
            .filter(|state| state.edge.as_ref() == Some(&edge.id))
        {
            println!(
                "  {}  {}, version {} of {newest}, build {}",
                state.instance,
                state.word(newest),
                state.version,
                state.build
            );
        }
    }
    Ok(())
}

async fn rotate(args: &EdgeArgs) -> Result<(), Failure> {
    let control = open(&args.config.config).await?;
    let changed = async {
        let id = find(&control, &args.edge).await?;
        control.edges.rotate(&OPERATOR, &id).await.map_err(refused)
    };
    let changed = changed.await;
    control.close().await;
    println!(
        "{} replaces its key pair when it next opens a session, within 10 minutes.",
        changed?.name.as_str()
    );
    Ok(())
}

async fn revoke(args: &EdgeArgs) -> Result<(), Failure> {
    let control = open(&args.config.config).await?;
    let changed = async {
        let id = find(&control, &args.edge).await?;
        control.edges.revoke(&OPERATOR, &id).await.map_err(refused)
    };
    let changed = changed.await;
    control.close().await;
    println!(
        "{} is revoked; its policy is renewed no more and lapses within policy.max_age.",
        changed?.name.as_str()
    );
    Ok(())
}

async fn find(control: &Control, edge: &str) -> Result<EdgeId, Failure> {
    let edges = control.edges.list(&OPERATOR).await.map_err(refused)?;
    let mut named = edges.into_iter().filter(|held| held.revoked_at.is_none());
    let found = named.find(|held| held.id.as_str() == edge || held.name.as_str() == edge);
    found.map(|held| held.id).ok_or_else(|| {
        Failure::Input(format!(
            "edge `{edge}` not found; list edges with: portcullis admin edges list --config FILE"
        ))
    })
}

/// Opens the store next to a running server.
pub(super) async fn open(path: &Path) -> Result<Control, Failure> {
    let config = control_config(path)?;
    let settings = planes::control_settings(&config, &config.listen);
    Ok(Control::open_for_admin(settings, Clock::System).await?)
}
