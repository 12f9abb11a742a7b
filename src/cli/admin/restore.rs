//! `portcullis admin restore`: puts a backup in the place of the store, and says what the backup does not know.

use std::path::{Path, PathBuf};

use clap::Args;

use super::store_access::{ConfigArgs, OPERATOR, control_config, refused};
use crate::cli::diff::differences;
use crate::cli::failure::Failure;
use crate::cli::planes;
use crate::clock::Clock;
use crate::config::ControlPlane;
use crate::control;
use crate::control::{Control, EndKeys};
use crate::snapshot::Snapshot;
use crate::store;
use crate::store::{Store, StoreError};
use crate::store_location::StoreLocation;

pub(crate) const RESTORE: &str = "\
A backup does not know what was revoked after it was made: those tokens are valid again. The command says what the backup would \
newly allow and newly deny. Then choose --end-all-tokens, which ends every token of this server, or --keep-tokens. Stop \
`portcullis serve` first. The present store stays next to the new one, with the ending .before-restore.";

#[derive(Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The copy that `portcullis admin backup` made
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// End every token that this server issued; clients fetch new ones
    #[arg(long, conflicts_with = "keep_tokens")]
    end_all_tokens: bool,
    /// End no token, also where a revocation is lost
    #[arg(long)]
    keep_tokens: bool,
}

pub(crate) async fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let config = control_config(&args.config.config)?;
    let StoreLocation::Sqlite(path) = &config.store else {
        return Err(Failure::input(format_args!(
            "the store `{}` is a PostgreSQL database; restore it with pg_restore, then end the tokens whose revocation is lost: \
             portcullis admin rotate-signing-key --emergency --all",
            config.store
        )));
    };
    let backup = policy_of(&StoreLocation::Sqlite(args.from.clone()), &config).await?;
    // Held until the end: no server can start meanwhile.
    let present = present(path, &config).await?;
    match &present.policy {
        Some(policy) => print!(
            "From the present store to the backup:\n{}",
            differences(policy, &backup)
        ),
        None => println!("The present store cannot be read, so it is not known what the backup lacks."),
    }
    if !args.end_all_tokens && !args.keep_tokens {
        return Err(Failure::input(
            "nothing was changed; choose --end-all-tokens (a lost revocation then lets nobody in) or --keep-tokens, and run the command again",
        ));
    }
    if let Some(store) = &present.store {
        store.close().await;
    }
    let kept = store::replace(path, &args.from).await?;
    drop(present);
    println!("{} holds the backup {}.", path.display(), args.from.display());
    if let Some(kept) = kept {
        println!("The store before it is {}.", kept.display());
    }
    if args.end_all_tokens {
        end_all_tokens(&config).await?;
        println!("Every token of this server is ended. Clients fetch new ones when theirs are refused.");
    }
    println!("Next: start `portcullis serve`.");
    Ok(())
}

/// The store in the place that is restored, with its lock.
struct Present {
    store: Option<Store>,
    policy: Option<Snapshot>,
}

async fn present(path: &Path, config: &ControlPlane) -> Result<Present, Failure> {
    let none = Present {
        store: None,
        policy: None,
    };
    if !path.exists() {
        return Ok(none);
    }
    match Store::open(&config.store).await {
        Ok(store) => {
            let settings = planes::control_settings(config, &config.listen);
            let policy = control::stored_policy(&store, &settings, Clock::System.now())
                .await
                .ok();
            Ok(Present {
                store: Some(store),
                policy,
            })
        }
        Err(error @ StoreError::Locked(_)) => Err(Failure::input(format_args!(
            "{error}; stop `portcullis serve` before you restore its store"
        ))),
        // A store that cannot be opened is what backups are for.
        Err(_) => Ok(none),
    }
}

async fn policy_of(location: &StoreLocation, config: &ControlPlane) -> Result<Snapshot, Failure> {
    let store = Store::open_to_read(location).await?;
    let settings = planes::control_settings(config, &config.listen);
    let policy = control::stored_policy(&store, &settings, Clock::System.now()).await;
    store.close().await;
    Ok(policy?)
}

async fn end_all_tokens(config: &ControlPlane) -> Result<(), Failure> {
    let settings = planes::control_settings(config, &config.listen);
    let control = Control::open_for_admin(settings, Clock::System).await?;
    let ended = control.signing_keys.end(&OPERATOR, &EndKeys::All).await;
    control.close().await;
    ended.map(drop).map_err(refused)
}
