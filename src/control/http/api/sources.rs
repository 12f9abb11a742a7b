//! Sources, their connections and their enforcement in the management API.

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conditions::{Creation, Idempotency, Tagged, still_there};
use super::json::Json;
use super::paging::{PageQuery, flag};
use super::request::{InWorkspace, NewName};
use super::times::at_text;
use crate::control::error::ControlError;
use crate::control::http::state::Shared;
use crate::control::sources::source::NewSource;
use crate::domain::ids::{AppId, SourceId};
use crate::domain::policy::Enforcement;
use crate::model::source::Source;

/// A source.
#[derive(Serialize, JsonSchema)]
pub struct SourceJson {
    id: String,
    name: String,
    kind: &'static str,
    write_key: String,
    enforcement: &'static str,
    app_id: Option<String>,
    scope: &'static str,
    created_at: String,
}

impl From<Source> for SourceJson {
    fn from(source: Source) -> Self {
        Self {
            id: source.id.as_str().to_owned(),
            name: source.name.as_str().to_owned(),
            kind: source.kind.as_str(),
            write_key: source.write_key.expose().to_owned(),
            enforcement: source.enforcement.as_str(),
            app_id: source.app.as_ref().map(|app| app.as_str().to_owned()),
            scope: source.kind.scope(),
            created_at: at_text(source.created_at),
        }
    }
}

type Shown = Result<Tagged<SourceJson>, ControlError>;

/// The response that shows a source.
fn shown(source: Source) -> Tagged<SourceJson> {
    Tagged::shown(source.revision, source.into())
}

pub async fn list(
    State(control): Shared,
    at: InWorkspace,
    query: PageQuery,
) -> Result<Response, ControlError> {
    let mut page = query.page();
    while let Some(part) = page.next_part() {
        let found = control.sources.list(&at.actor, &at.workspace, part).await?;
        page.add(found, |source| source.id.as_str(), SourceJson::from)?;
    }
    page.finish()
}

pub async fn create(State(control): Shared, at: InWorkspace, new: Creation<NewSource>) -> Shown {
    let made = match new.begin(&control, &at.actor).await? {
        Idempotency::New(actor, new) => control.sources.create(&actor, &at.workspace, new).await?,
        Idempotency::Replay(id) => {
            let id = SourceId::parse(&id).map_err(|_| ControlError::NotFound("source"))?;
            still_there(control.sources.get(&at.actor, &at.workspace, &id).await)?
        }
    };
    Ok(Tagged::created(made.revision, made.into()))
}

pub async fn show(State(control): Shared, at: InWorkspace) -> Shown {
    let found = control
        .sources
        .get(&at.actor, &at.workspace, &at.source()?)
        .await?;
    Ok(shown(found))
}

pub async fn update(State(control): Shared, at: InWorkspace, Json(body): Json<NewName>) -> Shown {
    let changed = control
        .sources
        .rename(&at.actor, &at.workspace, &at.source()?, &body.name)
        .await?;
    Ok(shown(changed))
}

pub async fn delete(State(control): Shared, at: InWorkspace) -> Result<StatusCode, ControlError> {
    control
        .sources
        .delete(&at.actor, &at.workspace, &at.source()?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    app_id: String,
}

pub async fn connect(State(control): Shared, at: InWorkspace, Json(body): Json<Connection>) -> Shown {
    let app = AppId::parse(&body.app_id)
        .map_err(|error| ControlError::invalid("app_id", format!("the app's id {error}")))?;
    let changed = control
        .sources
        .connect(&at.actor, &at.workspace, &at.source()?, &app)
        .await?;
    Ok(shown(changed))
}

/// `?force=true`.
pub struct Force(bool);

impl<S: Sync> FromRequestParts<S> for Force {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ControlError> {
        flag(parts, "force").map(Self)
    }
}

pub async fn disconnect(State(control): Shared, at: InWorkspace, Force(force): Force) -> Shown {
    let changed = control
        .sources
        .disconnect(&at.actor, &at.workspace, &at.source()?, force)
        .await?;
    Ok(shown(changed))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mode {
    #[schemars(extend("enum" = ["off", "observe", "on"]))]
    mode: String,
}

pub async fn set_enforcement(State(control): Shared, at: InWorkspace, Json(body): Json<Mode>) -> Shown {
    let mode = Enforcement::parse(&body.mode)
        .ok_or_else(|| ControlError::invalid("mode", "the mode is one of off, observe, on"))?;
    let changed = control
        .sources
        .set_enforcement(&at.actor, &at.workspace, &at.source()?, mode)
        .await?;
    Ok(shown(changed))
}
