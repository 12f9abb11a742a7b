//! Revocation in the API's form.

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::{InWorkspace, Json};
use super::{Shared, at_text};
use crate::control::error::ControlError;
use crate::control::revoke::Revoked;

/// The body of a revocation. It has no `Debug`: it holds a token.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenToRevoke {
    token: String,
}

/// A revocation's answer in the API's form.
#[derive(Serialize, JsonSchema)]
pub struct RevokedJson {
    status: &'static str,
    expires_at: String,
}

pub async fn revoke(
    State(control): Shared,
    at: InWorkspace,
    Json(body): Json<TokenToRevoke>,
) -> Result<axum::Json<RevokedJson>, ControlError> {
    let (status, expires_at) = match control
        .revoke_token(&at.actor, &at.workspace, &at.app()?, &body.token)
        .await?
    {
        Revoked::Now { expires_at } => ("revoked", expires_at),
        Revoked::Expired { expires_at } => ("expired", expires_at),
    };
    Ok(axum::Json(RevokedJson {
        status,
        expires_at: at_text(expires_at),
    }))
}
