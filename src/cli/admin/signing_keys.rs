//! `portcullis admin signing-keys` and `rotate-signing-key`: the keys that access tokens are signed with, next to the
//! process that signs with them.

use clap::Args;

use super::store_access::{ConfigArgs, OPERATOR, control_config, refused};
use crate::cli::failure::Failure;
use crate::cli::planes;
use crate::clock::Clock;
use crate::control::{Control, ControlError, EndKeys, KeyState, SigningKeyStatus};
use crate::domain::ids::KeyId;
use crate::domain::time::UnixSeconds;

pub(crate) const ROTATION: &str = "\
Without --emergency no token ends: the next key is published now, signs once nobody keeps a key set without it \
(signing.publish_ahead in the config), and the key before it is kept until its last token has expired.

With --emergency all tokens of a key end at once, at the bundled gateway within seconds; clients fetch new ones. A \
gateway that fetches the key set by its URL keeps its copy for five minutes at most.";

/// How long a running server takes to see a change, as the output says.
const TAKEN_OVER: &str = "A `portcullis serve` that runs on this store takes it over within two seconds.";

#[derive(Args)]
pub(crate) struct SigningKeysArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct RotateArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// End the key that signs now, and at once all tokens that it signed
    #[arg(long)]
    emergency: bool,
    /// Revoke this key instead of the current one (`portcullis admin signing-keys` shows them)
    #[arg(long, value_name = "ID", requires = "emergency", value_parser = key_id)]
    key: Option<KeyId>,
    /// End every key, and so every token of this server
    #[arg(long, requires = "emergency", conflicts_with = "key")]
    all: bool,
}

fn key_id(text: &str) -> Result<KeyId, String> {
    KeyId::parse(text).map_err(|error| error.to_string())
}

impl RotateArgs {
    fn ends(&self) -> EndKeys {
        match &self.key {
            _ if self.all => EndKeys::All,
            Some(key) => EndKeys::One(key.clone()),
            None => EndKeys::Active,
        }
    }
}

pub(crate) async fn signing_keys(args: &SigningKeysArgs) -> Result<(), Failure> {
    let control = open(&args.config).await?;
    let keys = control.signing_keys.list(&OPERATOR).await;
    control.close().await;
    show(&keys.map_err(refused)?);
    Ok(())
}

pub(crate) async fn rotate(args: &RotateArgs) -> Result<(), Failure> {
    let control = open(&args.config).await?;
    let done = if args.emergency {
        end(&control, &args.ends()).await
    } else {
        publish_next(&control).await
    };
    control.close().await;
    done
}

/// Makes the next key, and says when it begins to sign.
async fn publish_next(control: &Control) -> Result<(), Failure> {
    let before = control.signing_keys.list(&OPERATOR).await.map_err(refused)?;
    let keys = control.signing_keys.rotate(&OPERATOR).await.map_err(refused)?;
    let is_new = keys.len() > before.len();
    println!(
        "{}",
        if is_new {
            "The next key is made and published."
        } else {
            "The next key was made and published before; nothing is changed."
        }
    );
    show(&keys);
    if is_new {
        println!("{TAKEN_OVER}");
    }
    Ok(())
}

/// Ends keys with all their tokens.
async fn end(control: &Control, which: &EndKeys) -> Result<(), Failure> {
    let ended = control
        .signing_keys
        .end(&OPERATOR, which)
        .await
        .map_err(|error| match error {
            ControlError::NotFound(_) => Failure::input(
                "there is no such signing key; `portcullis admin signing-keys` shows those there are",
            ),
            other => refused(other),
        })?;
    for key in &ended {
        println!("The key {key} is ended with every token that it signed.");
    }
    show(&control.signing_keys.list(&OPERATOR).await.map_err(refused)?);
    println!("{TAKEN_OVER} Clients fetch new tokens when theirs are refused.");
    Ok(())
}

/// One line for each key.
fn show(keys: &[SigningKeyStatus]) {
    for key in keys {
        let until = match (key.state, key.signs_until, key.ends_at) {
            (KeyState::Next, ..) => format!("signs from {} on", moment(key.signs_from)),
            (KeyState::Active, Some(until), _) => format!("signs now, until {}", moment(until)),
            (KeyState::Active, ..) => "signs now".to_owned(),
            (KeyState::Retired, _, Some(end)) => format!("signs no more; its tokens end by {}", moment(end)),
            (KeyState::Retired, ..) => "signs no more".to_owned(),
        };
        let kept = if key.encrypted {
            ""
        } else {
            ", in the clear in the store"
        };
        println!("{} ({}{kept}) {until}", key.id, key.algorithm);
    }
}

fn moment(at: UnixSeconds) -> String {
    let seconds = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| at.to_string(), |moment| moment.to_string())
}

/// Opens the store next to a running server.
async fn open(args: &ConfigArgs) -> Result<Control, Failure> {
    let config = control_config(&args.config)?;
    let settings = planes::control_settings(&config, &config.listen);
    Ok(Control::open_for_admin(settings, Clock::System).await?)
}
