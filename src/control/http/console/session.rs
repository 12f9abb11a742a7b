//! The session of a browser, and the CSRF token of its forms.

use std::net::IpAddr;

use http::request::Parts;

use super::fault::Fault;
use crate::control::accounts::secret::Secret;
use crate::control::actor::Actor;
use crate::control::client_address::ClientAddress;
use crate::control::error::ControlError;
use crate::control::http::cookies::Cookie;
use crate::control::plane::Control;
use crate::model::credential::Credential;
use crate::model::member::Member;
use crate::model::session::SessionRecord;

/// A session that is signed in.
pub(crate) struct BrowserSession {
    pub record: SessionRecord,
    secret: Secret,
    from: Option<IpAddr>,
    csrf: String,
}

impl BrowserSession {
    /// The session of the request's cookie.
    pub async fn of(control: &Control, parts: &Parts) -> Result<Self, Fault> {
        let cookie = control.cookies.get(Cookie::Session, &parts.headers);
        let secret = cookie.and_then(Secret::parse).ok_or(Fault::NotSignedIn)?;
        let from = parts.extensions.get::<ClientAddress>().copied();
        let record = match control.sessions.authenticate_session(&secret).await {
            Ok(record) => record,
            Err(ControlError::Unauthenticated) => {
                if let Some(from) = from {
                    control.limits.failed_authentication(from)?;
                }
                return Err(Fault::NotSignedIn);
            }
            Err(error) => return Err(error.into()),
        };
        control.limits.management_request(&record.account)?;
        Ok(Self {
            record,
            csrf: secret.csrf_token(),
            secret,
            from: from.map(|from| from.0),
        })
    }

    /// The actor of the session, as this member.
    pub fn actor(&self, member: Member) -> Actor {
        Actor::member(member, self.from).with_credential(Credential::Session(self.record.id.clone()))
    }

    pub fn csrf(&self) -> &str {
        &self.csrf
    }

    pub fn is_csrf(&self, value: &str) -> bool {
        self.secret.owns_csrf_token(value)
    }
}
