//! What a management request says: its body, its page, who sent it and which workspace it is for.

use super::caller::{address, caller};
use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use schemars::JsonSchema;
use serde::Deserialize;

use super::conditions::if_match;
use crate::control::actor::Actor;
use crate::control::error::ControlError;
use crate::control::plane::Control;
use crate::domain::ids::{AppId, KeyId, MemberId, SourceId, WorkspaceId};
use crate::model::credential::Credential;

/// The workspace in the path, who asks as a member of it, and the other identifiers of the path.
pub struct InWorkspace {
    pub actor: Actor,
    pub workspace: WorkspaceId,
    parameters: Parameters,
}

/// The identifiers in a path, by their names.
struct Parameters(Vec<(String, String)>);

impl FromRequestParts<Arc<Control>> for InWorkspace {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, control: &Arc<Control>) -> Result<Self, ControlError> {
        let (caller, credential) = caller(parts, control).await?;
        let parameters = RawPathParams::from_request_parts(parts, control).await;
        let parameters = parameters.map_err(|_| ControlError::NotFound("resource"))?;
        let parameters = Parameters(
            parameters
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        );
        let workspace = parameters.parse("ws", WorkspaceId::parse, "workspace")?;
        let member = match &credential {
            _ if caller.workspace == workspace => caller,
            // A session is its person's in all their workspaces, an API token is for one. A workspace of others is
            // answered like one that does not exist.
            Credential::Session(_) => control.members.membership(&workspace, &caller.account).await?,
            Credential::ApiToken(_) => return Err(ControlError::NotFound("workspace")),
        };
        let actor = Actor {
            if_match: if_match(parts)?,
            ..Actor::member(member, address(parts)).with_credential(credential)
        };
        Ok(Self {
            actor,
            workspace,
            parameters,
        })
    }
}

impl Parameters {
    fn parse<T, E>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
        what: &'static str,
    ) -> Result<T, ControlError> {
        let value = self
            .0
            .iter()
            .find(|(held, _)| held == name)
            .map(|(_, value)| value.as_str());
        value
            .and_then(|value| parse(value).ok())
            .ok_or(ControlError::NotFound(what))
    }
}

impl InWorkspace {
    pub fn app(&self) -> Result<AppId, ControlError> {
        self.parameters.parse("id", AppId::parse, "OAuth app")
    }

    pub fn source(&self) -> Result<SourceId, ControlError> {
        self.parameters.parse("id", SourceId::parse, "source")
    }

    pub fn member(&self) -> Result<MemberId, ControlError> {
        self.parameters.parse("id", MemberId::parse, "member")
    }

    pub fn api_token(&self) -> Result<String, ControlError> {
        let parse = |text: &str| Ok::<_, ControlError>(text.to_owned());
        self.parameters.parse("id", parse, "API token")
    }

    pub fn key(&self) -> Result<KeyId, ControlError> {
        self.parameters.parse("kid", KeyId::parse, "public key")
    }

    /// An identifier of what has no type of its own.
    pub fn id(&self) -> Result<String, ControlError> {
        let text = |text: &str| Ok::<_, ControlError>(text.to_owned());
        self.parameters.parse("id", text, "resource")
    }
}

/// A body that gives something a name.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewName {
    pub name: String,
}
