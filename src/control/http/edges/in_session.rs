//! Requests of an edge that has opened a session.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::header;
use http::request::Parts;

use super::service::EdgeState;
use crate::control::error::ControlError;
use crate::control::fleet::sessions::Session;

/// A request that carries the token of an open session.
pub(super) struct InSession(pub Session);

impl FromRequestParts<Arc<EdgeState>> for InSession {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<EdgeState>) -> Result<Self, ControlError> {
        let value = parts.headers.get(header::AUTHORIZATION);
        let token = value
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or(ControlError::Unauthenticated)?;
        state.sessions.find(token).map(Self)
    }
}
