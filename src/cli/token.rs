//! `portcullis token`: make a client assertion (RFC 7523) and fetch an access token, as a client would.

use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::{self, PemObject as _};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::failure::Failure;
use super::quickstart::env_file::EnvFile;
use crate::clock::Clock;
use crate::http_client::{Bounds, HttpClient, Proxies, Reach, Trust};
use crate::json_problem::json_problem;
use crate::pem_file;

/// How long the assertion lives, in seconds.
const ASSERTION_LIFETIME_S: u64 = 60;

/// What the token endpoint's answer may take.
const BOUNDS: Bounds = Bounds {
    within: std::time::Duration::from_secs(10),
    bytes_max: 64 * 1024,
};

#[derive(Args)]
pub(super) struct TokenArgs {
    /// Take what is not given from a file of KEY=value lines, such as quickstart writes
    #[arg(long, value_name = "FILE")]
    env: Option<PathBuf>,
    /// The token endpoint
    #[arg(long, value_name = "URL", env = "TOKEN_URL")]
    token_url: Option<String>,
    /// The authorization server: `aud` of the assertion [default: the token endpoint without /token]
    #[arg(long, value_name = "URL", env = "AUTH_SERVER")]
    auth_server: Option<String>,
    /// The OAuth app's id
    #[arg(long, value_name = "ID", env = "CLIENT_ID")]
    client_id: Option<String>,
    /// The id of the app's public key
    #[arg(long, value_name = "ID", env = "KEY_ID")]
    key_id: Option<String>,
    /// The private key (PEM file: RSA, EC P-256 or Ed25519)
    #[arg(long, value_name = "FILE", env = "PRIVATE_KEY_FILE")]
    private_key: Option<PathBuf>,
    /// Scopes to ask for, separated by spaces [default: all the app's]
    #[arg(long, value_name = "SCOPES", env = "SCOPE")]
    scope: Option<String>,
    /// Certificate authorities of the token endpoint (PEM file) [default: the system's, or SSL_CERT_FILE]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print the assertion and ask for nothing
    #[arg(long, conflicts_with_all = ["json", "header"])]
    assertion_only: bool,
    /// Print the whole answer
    #[arg(long, conflicts_with = "header")]
    json: bool,
    /// Print an Authorization header line, for curl -H @FILE
    #[arg(long)]
    header: bool,
}

/// What a token request needs, from the command line, the environment or a file.
struct Wanted {
    token_url: String,
    auth_server: String,
    client_id: String,
    key_id: String,
    private_key: PathBuf,
    scope: Option<String>,
    ca: Option<PathBuf>,
}

pub(super) async fn token(args: TokenArgs) -> Result<(), Failure> {
    let wanted = wanted(&args)?;
    let key = ClientKey::load(&wanted.private_key)?;
    let assertion = assertion(&wanted, &key)?;
    if args.assertion_only {
        println!("{}", *assertion);
        return Ok(());
    }
    let answer = ask(&wanted, &assertion).await?;
    if args.json {
        println!("{}", *answer);
        return Ok(());
    }
    let token: Answer = serde_json::from_str(&answer).map_err(|error| {
        Failure::input(format_args!(
            "the token endpoint's answer {}",
            json_problem(&error)
        ))
    })?;
    let prefix = if args.header { "Authorization: Bearer " } else { "" };
    println!("{prefix}{}", token.access_token);
    Ok(())
}

fn wanted(args: &TokenArgs) -> Result<Wanted, Failure> {
    let file = args.env.as_deref().map(EnvFile::read).transpose()?;
    let text = |given: &Option<String>, name: &str, flag: &str| {
        given
            .clone()
            .or_else(|| file.as_ref().and_then(|file| file.value(name).map(str::to_owned)))
            .ok_or_else(|| {
                Failure::input(format_args!(
                    "no {name} is known; give --{flag}, set {name}, or name a file with --env"
                ))
            })
    };
    let key_path = args.private_key.as_ref().map(|path| path.display().to_string());
    let token_url = text(&args.token_url, "TOKEN_URL", "token-url")?;
    let base = token_url.strip_suffix("/token").unwrap_or(&token_url).to_owned();
    Ok(Wanted {
        auth_server: text(&args.auth_server, "AUTH_SERVER", "auth-server").unwrap_or(base),
        client_id: text(&args.client_id, "CLIENT_ID", "client-id")?,
        key_id: text(&args.key_id, "KEY_ID", "key-id")?,
        private_key: PathBuf::from(text(&key_path, "PRIVATE_KEY_FILE", "private-key")?),
        scope: text(&args.scope, "SCOPE", "scope").ok(),
        ca: args.ca.clone(),
        token_url,
    })
}

/// A client's private key, of one of the kinds whose public halves can be registered.
enum ClientKey {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl ClientKey {
    fn load(path: &Path) -> Result<Self, Failure> {
        let fail =
            |problem: &dyn std::fmt::Display| Failure::input(format_args!("{}: {problem}", path.display()));
        let der = PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
            pem::Error::Io(problem) => fail(&format_args!("the private key cannot be read: {problem}")),
            _ => fail(&"holds no private key; name the PEM file that begins with BEGIN PRIVATE KEY"),
        })?;
        let bytes = der.secret_der();
        if let Ok(key) = RsaKeyPair::from_pkcs8(bytes).or_else(|_| RsaKeyPair::from_der(bytes)) {
            return Ok(Self::Rsa(key));
        }
        let p256 = &ECDSA_P256_SHA256_FIXED_SIGNING;
        if let Ok(key) =
            EcdsaKeyPair::from_pkcs8(p256, bytes).or_else(|_| EcdsaKeyPair::from_private_key_der(p256, bytes))
        {
            return Ok(Self::P256(key));
        }
        let ed25519 =
            Ed25519KeyPair::from_pkcs8(bytes).or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes));
        ed25519
            .map(Self::Ed25519)
            .map_err(|_| fail(&"holds no RSA (2048 bits or more), EC P-256 or Ed25519 private key"))
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Failure> {
        let random = SystemRandom::new();
        let failed = |_| Failure::internal("the key could not sign");
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            Self::P256(key) => Ok(key.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Self::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
        }
    }
}

fn assertion(wanted: &Wanted, key: &ClientKey) -> Result<Zeroizing<String>, Failure> {
    let now = Clock::System.now().0;
    let header = json!({"alg": key.algorithm(), "kid": wanted.key_id, "typ": "JWT"});
    let claims = json!({
        "iss": wanted.client_id,
        "sub": wanted.client_id,
        "aud": wanted.auth_server,
        "iat": now,
        "exp": now + ASSERTION_LIFETIME_S,
        "jti": Uuid::now_v7().to_string(),
    });
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let input = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes())?);
    Ok(Zeroizing::new(format!("{input}.{signature}")))
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
}

/// The endpoint's error answer (RFC 6749 section 5.2).
#[derive(Deserialize)]
struct Refusal {
    error: String,
    error_description: Option<String>,
}

/// The authorities of a PEM file, and no others.
fn authorities(path: &Path) -> Result<Trust, Failure> {
    let problem = |problem: &dyn std::fmt::Display| {
        Failure::input(format_args!(
            "{}: {problem}; name a PEM file with --ca",
            path.display()
        ))
    };
    let pem = std::fs::read(path).map_err(|error| problem(&error))?;
    let roots = pem_file::authorities(&pem).map_err(|error| problem(&error))?;
    Ok(Trust::Authorities(std::sync::Arc::new(roots)))
}

async fn ask(wanted: &Wanted, assertion: &str) -> Result<Zeroizing<String>, Failure> {
    let mut form = Zeroizing::new(format!(
        "grant_type=client_credentials&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&client_assertion={assertion}"
    ));
    if let Some(scope) = &wanted.scope {
        form.push_str("&scope=");
        form.push_str(&scope.replace(' ', "+"));
    }
    let uri: http::Uri = wanted
        .token_url
        .parse()
        .map_err(|error| Failure::input(format_args!("{}: {error}", wanted.token_url)))?;
    let mut headers = http::HeaderMap::new();
    let form_type = http::HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(http::header::CONTENT_TYPE, form_type);
    let trust = match &wanted.ca {
        Some(path) => authorities(path)?,
        None => Trust::System,
    };
    let client = HttpClient::new(Reach::Anywhere, &trust, Proxies::from_environment());
    let answer = client.post(&uri, headers, form.as_bytes().to_vec(), BOUNDS).await;
    let (status, body) = answer
        .map_err(|error| Failure::input(format_args!("{} does not answer: {error}", wanted.token_url)))?;
    let body = Zeroizing::new(String::from_utf8_lossy(&body).into_owned());
    if status == http::StatusCode::OK {
        return Ok(body);
    }
    let why = serde_json::from_str::<Refusal>(&body).map_or_else(
        |_| "without saying why".to_owned(),
        |refusal| {
            format!(
                "{}: {}",
                refusal.error,
                refusal.error_description.unwrap_or_default()
            )
        },
    );
    Err(Failure::input(format_args!(
        "the token endpoint refused ({}), {why}",
        status.as_u16()
    )))
}
