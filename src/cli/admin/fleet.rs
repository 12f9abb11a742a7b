//! `portcullis admin fleet`: the settings that all control planes on one store share.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::edges::open;
use super::store_access::{ConfigArgs, OPERATOR, refused};
use crate::cli::failure::Failure;
use crate::config::DurationText;
use crate::control::fleet::settings::{AUDIENCE, MAX_AGE};
use crate::model::edge::FleetSettings;

#[derive(Subcommand)]
pub(super) enum FleetCommand {
    /// Show the settings that all control planes on this store share
    Show(ShowArgs),
    /// Change settings that all control planes on this store share, also while they run
    Set(SetArgs),
}

#[derive(Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("setting").required(true).multiple(true).args(["max_age", "audience"]))]
pub(super) struct SetArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// How long a gateway may go without proving that its policy is current, such as `5m`; applied within seconds
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_age: Option<Duration>,
    /// `aud` of access tokens; applied when a control plane starts
    #[arg(long)]
    audience: Option<String>,
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    let read = text.parse::<DurationText>().map(|read| read.0);
    read.map_err(|_| "write a duration with its unit, such as `10s`, `5m` or `24h`")
}

pub(super) async fn fleet(command: FleetCommand) -> Result<(), Failure> {
    match command {
        FleetCommand::Show(args) => {
            let control = open(&args.config.config).await?;
            let settings = control.edges.fleet_settings(&OPERATOR).await;
            control.close().await;
            print(&settings.map_err(refused)?);
        }
        FleetCommand::Set(args) => {
            let control = open(&args.config.config).await?;
            let change = FleetSettings {
                audience: args.audience,
                max_age_s: args.max_age.map(|age| age.as_secs()),
            };
            let settings = control.edges.set_fleet_settings(&OPERATOR, &change).await;
            control.close().await;
            print(&settings.map_err(refused)?);
            if change.audience.is_some() {
                println!("Restart each control plane: access tokens have the new audience from then on.");
            }
        }
    }
    Ok(())
}

fn print(settings: &FleetSettings) {
    let max_age = settings.max_age_s.unwrap_or(MAX_AGE.as_secs());
    let audience = settings.audience.as_deref().unwrap_or(AUDIENCE);
    let note = |is_set: bool| if is_set { "" } else { "  (default)" };
    println!("max_age   {max_age}s{}", note(settings.max_age_s.is_some()));
    println!("audience  {audience}{}", note(settings.audience.is_some()));
}
