//! `portcullis admin`: what the operator does to the store itself: the first owner, a new password, the check of
//! the audit trail, a copy, another signing key.

use super::store_access::{ConfigArgs, OPERATOR, control_config, refused};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::audit;
use super::backup::{BackupArgs, backup};
use super::edges::{EdgesCommand, edges};
use super::fleet::{FleetCommand, fleet};
use super::restore::{RESTORE, RestoreArgs, restore};
use super::signing_keys::{ROTATION, RotateArgs, SigningKeysArgs, rotate, signing_keys};
use crate::cli::failure::Failure;
use crate::cli::planes;
use crate::cli::secret_input::{Secret, secret};
use crate::clock::Clock;
use crate::control::{Control, ExpectedTrail, OpenError, TrailAge, verify_trail};
use crate::domain::ids::WorkspaceId;
use crate::store::{Store, StoreError};

#[derive(Args)]
pub(crate) struct AdminArgs {
    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Subcommand)]
enum AdminCommand {
    /// Make the first workspace and its owner, on a store that has none
    Owner(OwnerArgs),
    /// Give a person another password, and vouch for their address; their sessions and API tokens end
    ResetPassword(ResetArgs),
    /// Copy the store into a file, also while it is in use
    Backup(BackupArgs),
    /// Put a backup in the place of the store, and say which revocations are lost
    #[command(after_help = RESTORE)]
    Restore(RestoreArgs),
    /// Show the keys that access tokens are signed with, also while they are in use
    SigningKeys(SigningKeysArgs),
    /// Sign tokens with a new key, also while `portcullis serve` runs
    #[command(after_help = ROTATION)]
    RotateSigningKey(RotateArgs),
    /// Enrol, list and revoke edges, also while `portcullis serve` runs
    #[command(subcommand)]
    Edges(EdgesCommand),
    /// Show and change what all control planes on this store share
    #[command(subcommand)]
    Fleet(FleetCommand),
    /// Look after the audit trail
    #[command(subcommand)]
    Audit(AuditCommand),
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Print the newest events, those of no workspace among them, also while `portcullis serve` runs
    List(audit::ListArgs),
    /// Write all events, the oldest first, also while `portcullis serve` runs
    Export(audit::ExportArgs),
    /// Find events that were edited, removed, moved or added behind our back
    Verify(VerifyArgs),
}

#[derive(Args)]
struct PasswordArgs {
    /// A file that holds the password; otherwise it is asked for, or read from the standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

#[derive(Args)]
struct OwnerArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The e-mail address that the owner will sign in with
    #[arg(long)]
    email: String,
    /// The name of the workspace
    #[arg(long, value_name = "NAME", default_value = "Main")]
    workspace: String,
    #[command(flatten)]
    password: PasswordArgs,
}

#[derive(Args)]
struct ResetArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The person's e-mail address
    #[arg(long)]
    email: String,
    /// A workspace that the address has joined without proving to be the person's, and which is theirs (repeatable)
    #[arg(long = "workspace", value_name = "ID", value_parser = WorkspaceId::parse)]
    workspaces: Vec<WorkspaceId>,
    #[command(flatten)]
    password: PasswordArgs,
}

#[derive(Args)]
struct VerifyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// What an earlier check printed to be kept: says whether that past is still the past
    #[arg(long, value_name = "FIRST..LAST/COUNT")]
    expect: Option<ExpectedTrail>,
}

/// Does what the command line says, and ends.
pub(crate) async fn admin(args: AdminArgs) -> Result<(), Failure> {
    match args.command {
        AdminCommand::Owner(args) => owner(&args).await,
        AdminCommand::ResetPassword(args) => reset_password(&args).await,
        AdminCommand::Backup(args) => backup(&args).await,
        AdminCommand::SigningKeys(args) => signing_keys(&args).await,
        AdminCommand::RotateSigningKey(args) => rotate(&args).await,
        AdminCommand::Edges(command) => edges(command).await,
        AdminCommand::Fleet(command) => fleet(command).await,
        AdminCommand::Restore(args) => restore(&args).await,
        AdminCommand::Audit(AuditCommand::List(args)) => audit::list(&args).await,
        AdminCommand::Audit(AuditCommand::Export(args)) => audit::export(&args).await,
        AdminCommand::Audit(AuditCommand::Verify(args)) => verify(&args).await,
    }
}

async fn owner(args: &OwnerArgs) -> Result<(), Failure> {
    let has_passwords = control_config(&args.config.config)?.login.passwords;
    let password = password(&args.password, has_passwords, "Password for the owner")?;
    let control = open(&args.config.config).await?;
    let made = control
        .members
        .create_first_owner(&OPERATOR, &args.email, &args.workspace, password.expose())
        .await;
    control.close().await;
    let (workspace, member) = made.map_err(refused)?;
    println!(
        "{} owns the workspace `{}` ({}).",
        member.email, workspace.name, workspace.id
    );
    let how = match has_passwords {
        true => "with this address and password",
        false => "with single sign-on and this address",
    };
    println!(
        "Next: run `portcullis serve --config {}`, and sign in at {} {how}.",
        args.config.config.display(),
        control.issuer()
    );
    Ok(())
}

async fn reset_password(args: &ResetArgs) -> Result<(), Failure> {
    let has_passwords = control_config(&args.config.config)?.login.passwords;
    let password = password(&args.password, has_passwords, "New password")?;
    let control = open(&args.config.config).await?;
    let reset = control
        .passwords
        .reset_password(&OPERATOR, &args.email, password.expose(), &args.workspaces)
        .await;
    control.close().await;
    let reset = reset.map_err(refused)?;
    let (email, ended) = (args.email.trim(), reset.ended);
    let how = match has_passwords {
        true => "the new password",
        false => "single sign-on",
    };
    println!("{email} signs in with {how} from now on.");
    println!(
        "Ended: {} sessions and {} API tokens.",
        ended.sessions, ended.api_tokens
    );
    if !reset.taken_over.is_empty() {
        let ids: Vec<&str> = reset.taken_over.iter().map(WorkspaceId::as_str).collect();
        println!(
            "The address is verified now, with its membership of {}.",
            ids.join(", ")
        );
    }
    Ok(())
}

async fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let config = control_config(&args.config.config)?;
    // A check only reads: it can be made while `serve` runs.
    let store = Store::open_to_read(&config.store).await?;
    let age = TrailAge {
        now: Clock::System.now(),
        retention: config.audit_retention,
    };
    let report = verify_trail(&store, args.expect.as_ref(), &age).await;
    store.close().await;
    let report = report.map_err(Failure::internal)?;
    for fault in &report.faults {
        println!("{fault}");
    }
    if report.more_faults > 0 {
        println!("and {} more", report.more_faults);
    }
    println!(
        "{} events, ending with {}:{}",
        report.events, report.end.position, report.end.hash
    );
    if report.faults.is_empty() {
        println!("The trail is whole.");
        if let Some(trail) = &report.to_expect {
            println!("Keep this elsewhere, and pass it to --expect next time:");
            println!("{trail}");
        }
        Ok(())
    } else {
        Err(Failure::Input(
            "the audit trail is not what was written; see above".to_owned(),
        ))
    }
}

/// Opens the control plane that the config names, with nothing served. Makes the store if there is none; next to a running
/// server it opens the store without its lock.
async fn open(path: &Path) -> Result<Control, Failure> {
    let config = control_config(path)?;
    let settings = planes::control_settings(&config, &config.listen);
    let opened = match Control::open(settings.clone(), Clock::System).await {
        Err(OpenError::Store(StoreError::Locked(_))) => {
            Control::open_for_admin(settings, Clock::System).await
        }
        opened => opened,
    };
    Ok(opened?)
}

/// The password that the operator chose. Where passwords are turned off, none is asked for: the account gets a random one
/// that nobody knows.
fn password(args: &PasswordArgs, has_passwords: bool, prompt: &str) -> Result<Secret, Failure> {
    match has_passwords {
        true => secret(args.password_file.as_deref(), prompt),
        false => Secret::random().map_err(Failure::internal),
    }
}
