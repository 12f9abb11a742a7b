//! `portcullis admin backup`: a copy of the store while it is in use.

use std::path::PathBuf;

use clap::Args;

use crate::cli::failure::Failure;
use crate::config;
use crate::store;
use crate::store_location::StoreLocation;

#[derive(Args)]
pub(crate) struct BackupArgs {
    /// The config file (YAML) that names the store
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_CONFIG")]
    config: PathBuf,
    /// Where the copy goes; a file that is there already is left alone
    #[arg(long, value_name = "PATH")]
    to: PathBuf,
}

pub(crate) async fn backup(args: &BackupArgs) -> Result<(), Failure> {
    let config = config::load(&args.config)?;
    let Some(control) = config.control_plane else {
        return Err(Failure::input(format_args!(
            "{} has no control plane, so there is no store to copy",
            args.config.display()
        )));
    };
    let StoreLocation::Sqlite(path) = &control.store else {
        return Err(Failure::input(format_args!(
            "the store `{}` is a PostgreSQL database; copy it with pg_dump --format=custom, which may run while it is in use",
            control.store
        )));
    };
    let version = store::backup(path, &args.to).await?;
    println!(
        "{} is a copy of {} as of policy version {version}. It holds signing keys and write keys: keep it as safe as the store.",
        args.to.display(),
        path.display()
    );
    Ok(())
}
