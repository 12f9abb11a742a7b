//! The quickstart's sample data: a workspace with its owner, two apps, and one source for each thing to try.

use std::fmt::Write as _;
use std::path::Path;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::addresses::Addresses;
use super::config::{ALL_SCOPES, absolute, write_secret};
use super::env_file::EnvFile;
use crate::cli::failure::Failure;
use crate::control::{Actor, AppDetails, Control, NewApp, NewAppKey, NewSource};
use crate::domain::ids::{AppId, WorkspaceId};
use crate::domain::policy::Enforcement;
use crate::model::source::Source;

/// Who makes the sample data.
pub(super) static ACTOR: Actor = Actor::system("quickstart");

/// The first owner of the sample workspace.
pub(super) const OWNER_EMAIL: &str = "owner@quickstart.example";

/// What the sample token in the printed lines asks for.
const SCOPE: &str = "tracking_api:write";

/// Makes the sample workspace through the same functions that the API calls.
pub(super) async fn make_data(
    control: &Control,
    dir: &Path,
    addresses: &Addresses,
    log: &Path,
) -> Result<EnvFile, Failure> {
    let workspace = control
        .workspaces
        .create(&ACTOR, "Quickstart")
        .await
        .map_err(Failure::internal)?
        .id;
    let owner = control
        .members
        .create_owner(&ACTOR, &workspace, OWNER_EMAIL)
        .await
        .map_err(Failure::internal)?;
    let password = control
        .passwords
        .set_new_password(&ACTOR, &owner)
        .await
        .map_err(Failure::internal)?;
    let api_token = control
        .api_tokens
        .create_api_token(&ACTOR, &owner.id, "quickstart", None)
        .await
        .map_err(Failure::internal)?;
    let app_key = dir.join("client-private.pem");
    let other_key = dir.join("other-client-private.pem");
    let app = make_app(control, &workspace, "Quickstart app", &ALL_SCOPES, &app_key).await?;
    let other = make_app(control, &workspace, "Another app", &[SCOPE], &other_key).await?;
    let [website, elsewhere, unenforced, observed, function] =
        make_sources(control, &workspace, &app, &other).await?;
    let issuer_key = dir.join("issuer-private.pem");
    write_secret(&issuer_key, &control.issuer_keys.signing_key_pkcs8_pem())?;
    let key_of = |app: &AppDetails| app.keys.first().map(|key| key.id.to_string()).unwrap_or_default();
    let path = |path: &Path| absolute(path).map(|path| path.display().to_string());
    let mut values = addresses.values(log);
    values.extend([
        ("CLIENT_ID", app.app.id.to_string()),
        ("KEY_ID", key_of(&app)),
        ("PRIVATE_KEY_FILE", path(&app_key)?),
        ("SCOPE", SCOPE.to_owned()),
        ("WRITE_KEY", website),
        ("OTHER_WRITE_KEY", elsewhere),
        ("OTHER_CLIENT_ID", other.app.id.to_string()),
        ("OTHER_KEY_ID", key_of(&other)),
        ("OTHER_PRIVATE_KEY_FILE", path(&other_key)?),
        ("UNENFORCED_WRITE_KEY", unenforced),
        ("OBSERVED_WRITE_KEY", observed),
        ("FUNCTION_KEY", function),
        ("WORKSPACE_ID", workspace.to_string()),
        ("OWNER_EMAIL", OWNER_EMAIL.to_owned()),
        ("OWNER_PASSWORD", password.to_string()),
        ("OWNER_API_TOKEN", api_token.expose().to_owned()),
        ("ISSUER_PRIVATE_KEY_FILE", path(&issuer_key)?),
    ]);
    Ok(EnvFile::of(values))
}

/// One source for each thing to try. Their write keys come back.
async fn make_sources(
    control: &Control,
    workspace: &WorkspaceId,
    app: &AppDetails,
    other: &AppDetails,
) -> Result<[String; 5], Failure> {
    let make = async |name, kind, app, enforcement| {
        let source = make_source(control, workspace, name, kind, app, enforcement).await?;
        Ok::<_, Failure>(source.write_key.expose().to_owned())
    };
    Ok([
        make("Website", "http_api", Some(app), Enforcement::On).await?,
        make("Somebody else's", "http_api", Some(other), Enforcement::On).await?,
        make("Not enforced", "nodejs", None, Enforcement::Off).await?,
        make("Observed", "python", Some(app), Enforcement::Observe).await?,
        make("Webhook", "source_function", Some(app), Enforcement::On).await?,
    ])
}

async fn make_app(
    control: &Control,
    workspace: &WorkspaceId,
    name: &str,
    scopes: &[&str],
    private_key: &Path,
) -> Result<AppDetails, Failure> {
    let pem = make_client_key(private_key)?;
    let new = NewApp {
        name: name.to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        token_lifetime: "1d".to_owned(),
        public_key: NewAppKey {
            name: "quickstart".to_owned(),
            pem,
            algorithm: None,
            expires_at: None,
        },
    };
    control
        .apps
        .create(&ACTOR, workspace, new)
        .await
        .map_err(Failure::internal)
}

async fn make_source(
    control: &Control,
    workspace: &WorkspaceId,
    name: &str,
    kind: &str,
    app: Option<&AppDetails>,
    enforcement: Enforcement,
) -> Result<Source, Failure> {
    let new = NewSource {
        name: name.to_owned(),
        kind: kind.to_owned(),
        write_key: None,
    };
    let source = control
        .sources
        .create(&ACTOR, workspace, new)
        .await
        .map_err(Failure::internal)?;
    if let Some(app) = app {
        let id: &AppId = &app.app.id;
        control
            .sources
            .connect(&ACTOR, workspace, &source.id, id)
            .await
            .map_err(Failure::internal)?;
        control
            .sources
            .set_enforcement(&ACTOR, workspace, &source.id, enforcement)
            .await
            .map_err(Failure::internal)?;
    }
    Ok(source)
}

/// Makes an RSA key of 2048 bits, the private half in PKCS#8 as SDKs read it; returns the public half.
fn make_client_key(path: &Path) -> Result<String, Failure> {
    let failed = |_| Failure::internal("no key can be made");
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
    let private: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(failed)?;
    write_secret(path, &Zeroizing::new(pem("PRIVATE KEY", private.as_ref())))?;
    Ok(pem("PUBLIC KEY", public.as_ref()))
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    let _ = writeln!(text, "-----END {label}-----");
    text
}
