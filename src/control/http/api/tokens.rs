//! Revocation in the management API.

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::Json;
use super::request::InWorkspace;
use super::times::{at_text, moment_after};
use crate::control::error::ControlError;
use crate::control::http::state::Shared;
use crate::control::tokens::revoke::Revoked;
use crate::control::tokens::revoke_all::TokensOf;
use crate::domain::time::UnixSeconds;

// No `Debug`: it holds a token.
/// The token to revoke: the complete token, or its ID (`jti`).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenToRevoke {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    jti: Option<String>,
}

/// The tokens to revoke: those issued before a time, or all issued until now.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokensToRevoke {
    #[serde(default)]
    issued_before: Option<String>,
}

impl TokensToRevoke {
    /// The cutoff, rounded up to a whole second, the resolution of `iat`.
    fn moment(&self) -> Result<Option<UnixSeconds>, ControlError> {
        let text = self.issued_before.as_deref();
        text.map(|text| moment_after(text, "issued_before")).transpose()
    }
}

/// The result of a revocation.
#[derive(Serialize, JsonSchema)]
pub struct RevokedJson {
    status: &'static str,
    expires_at: String,
}

/// The result of a revocation of several tokens.
#[derive(Serialize, JsonSchema)]
pub struct AllRevokedJson {
    status: &'static str,
    /// Tokens issued before this time are revoked.
    issued_before: String,
}

fn all_revoked(moment: UnixSeconds) -> axum::Json<AllRevokedJson> {
    axum::Json(AllRevokedJson {
        status: "revoked",
        issued_before: at_text(moment),
    })
}

pub async fn revoke(
    State(control): Shared,
    at: InWorkspace,
    Json(body): Json<TokenToRevoke>,
) -> Result<axum::Json<RevokedJson>, ControlError> {
    let app = at.app()?;
    let revoked = match (&body.token, &body.jti) {
        (Some(token), None) => {
            control
                .revocation
                .revoke_token(&at.actor, &at.workspace, &app, token)
                .await?
        }
        (None, Some(jti)) => {
            control
                .revocation
                .revoke_token_id(&at.actor, &at.workspace, &app, jti)
                .await?
        }
        (Some(_), Some(_)) => {
            return Err(ControlError::invalid("jti", "send the token or its id, not both"));
        }
        (None, None) => return Err(ControlError::invalid("token", "the field is missing")),
    };
    let (status, expires_at) = match revoked {
        Revoked::Now { expires_at } => ("revoked", expires_at),
        Revoked::Expired { expires_at } => ("expired", expires_at),
    };
    Ok(axum::Json(RevokedJson {
        status,
        expires_at: at_text(expires_at),
    }))
}

pub async fn revoke_all_of_app(
    State(control): Shared,
    at: InWorkspace,
    Json(body): Json<TokensToRevoke>,
) -> Result<axum::Json<AllRevokedJson>, ControlError> {
    let (app, before) = (at.app()?, body.moment()?);
    let moment = control
        .revocation
        .revoke_all(&at.actor, &at.workspace, TokensOf::App(&app), before)
        .await?;
    Ok(all_revoked(moment))
}

pub async fn revoke_all_of_key(
    State(control): Shared,
    at: InWorkspace,
    Json(body): Json<TokensToRevoke>,
) -> Result<axum::Json<AllRevokedJson>, ControlError> {
    let (app, key, before) = (at.app()?, at.key()?, body.moment()?);
    let revoked = control
        .revocation
        .revoke_all(&at.actor, &at.workspace, TokensOf::Key(&app, &key), before);
    Ok(all_revoked(revoked.await?))
}

pub async fn revoke_all_of_workspace(
    State(control): Shared,
    at: InWorkspace,
    Json(body): Json<TokensToRevoke>,
) -> Result<axum::Json<AllRevokedJson>, ControlError> {
    let revoked =
        control
            .revocation
            .revoke_all(&at.actor, &at.workspace, TokensOf::Workspace, body.moment()?);
    Ok(all_revoked(revoked.await?))
}
