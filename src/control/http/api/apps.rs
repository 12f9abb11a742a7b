//! OAuth apps and their keys in the management API.

use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conditions::{Creation, Idempotency, Tagged, still_there};
use super::json::Json;
use super::paging::{PageQuery, flag};
use super::request::InWorkspace;
use super::times::at_text;
use crate::control::apps::app::{AppChange, NewApp, NewAppKey};
use crate::control::apps::details::AppDetails;
use crate::control::error::ControlError;
use crate::control::http::state::Shared;
use crate::domain::ids::AppId;
use crate::domain::time::UnixSeconds;
use crate::model::app::AppKey;

/// A public key of an OAuth app.
#[derive(Serialize, JsonSchema)]
pub struct KeyJson {
    id: String,
    name: String,
    pem: String,
    thumbprint: String,
    algorithm: &'static str,
    created_at: String,
    last_used_at: Option<String>,
    /// From when on the key proves no request.
    expires_at: Option<String>,
    /// Whether that is within 14 days, or over.
    expires_soon: bool,
}

impl KeyJson {
    fn of(key: AppKey, now: UnixSeconds) -> Self {
        Self {
            expires_at: key.expires_at.map(at_text),
            expires_soon: key.expires_soon(now),
            id: key.id.as_str().to_owned(),
            name: key.name.as_str().to_owned(),
            pem: key.pem,
            thumbprint: key.thumbprint,
            algorithm: key.algorithm.as_str(),
            created_at: at_text(key.created_at),
            last_used_at: key.last_used_at.map(at_text),
        }
    }
}

/// An OAuth app.
#[derive(Serialize, JsonSchema)]
pub struct AppJson {
    id: String,
    name: String,
    scopes: Vec<String>,
    token_lifetime: &'static str,
    keys: Vec<KeyJson>,
    sources: Vec<String>,
    created_at: String,
}

impl AppJson {
    fn of(AppDetails { app, keys, sources }: AppDetails, now: UnixSeconds) -> Self {
        Self {
            id: app.id.as_str().to_owned(),
            name: app.name.as_str().to_owned(),
            scopes: app.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            token_lifetime: app.token_lifetime.as_str(),
            keys: keys.into_iter().map(|key| KeyJson::of(key, now)).collect(),
            sources: sources.iter().map(ToString::to_string).collect(),
            created_at: at_text(app.created_at),
        }
    }
}

pub async fn list(
    State(control): Shared,
    at: InWorkspace,
    query: PageQuery,
) -> Result<Response, ControlError> {
    let now = control.changes.now();
    let mut page = query.page();
    while let Some(part) = page.next_part() {
        let found = control.apps.list(&at.actor, &at.workspace, part).await?;
        page.add(
            found,
            |item| item.app.id.as_str(),
            |found| AppJson::of(found, now),
        )?;
    }
    page.finish()
}

pub async fn create(
    State(control): Shared,
    at: InWorkspace,
    new: Creation<NewApp>,
) -> Result<Tagged<AppJson>, ControlError> {
    let made = match new.begin(&control, &at.actor).await? {
        Idempotency::New(actor, new) => control.apps.create(&actor, &at.workspace, new).await?,
        Idempotency::Replay(id) => {
            let id = AppId::parse(&id).map_err(|_| ControlError::NotFound("OAuth app"))?;
            still_there(control.apps.get(&at.actor, &at.workspace, &id).await)?
        }
    };
    Ok(Tagged::created(
        made.app.revision,
        AppJson::of(made, control.changes.now()),
    ))
}

pub async fn show(State(control): Shared, at: InWorkspace) -> Result<Tagged<AppJson>, ControlError> {
    let found = control.apps.get(&at.actor, &at.workspace, &at.app()?).await?;
    Ok(Tagged::shown(
        found.app.revision,
        AppJson::of(found, control.changes.now()),
    ))
}

pub async fn update(
    State(control): Shared,
    at: InWorkspace,
    Json(change): Json<AppChange>,
) -> Result<Tagged<AppJson>, ControlError> {
    let changed = control
        .apps
        .update(&at.actor, &at.workspace, &at.app()?, change)
        .await?;
    Ok(Tagged::shown(
        changed.app.revision,
        AppJson::of(changed, control.changes.now()),
    ))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    confirm_name: String,
}

pub async fn delete(
    State(control): Shared,
    at: InWorkspace,
    Json(body): Json<Confirmation>,
) -> Result<StatusCode, ControlError> {
    control
        .apps
        .delete(&at.actor, &at.workspace, &at.app()?, &body.confirm_name)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn list_keys(
    State(control): Shared,
    at: InWorkspace,
    _: PageQuery,
) -> Result<impl IntoResponse, ControlError> {
    #[derive(Serialize)]
    struct Keys {
        items: Vec<KeyJson>,
        /// An app has at most two keys: there is no second page.
        next: Option<String>,
    }
    let now = control.changes.now();
    let found = control.apps.get(&at.actor, &at.workspace, &at.app()?).await?;
    Ok(axum::Json(Keys {
        items: found.keys.into_iter().map(|key| KeyJson::of(key, now)).collect(),
        next: None,
    }))
}

pub async fn create_key(
    State(control): Shared,
    at: InWorkspace,
    new: Creation<NewAppKey>,
) -> Result<impl IntoResponse, ControlError> {
    let app = at.app()?;
    let made = match new.begin(&control, &at.actor).await? {
        Idempotency::New(actor, new) => control.apps.add_key(&actor, &at.workspace, &app, &new).await?,
        Idempotency::Replay(id) => {
            let found = control.apps.get(&at.actor, &at.workspace, &app).await;
            let mut keys = still_there(found)?.keys.into_iter();
            let key = keys.find(|key| key.id.as_str() == id);
            still_there(key.ok_or(ControlError::NotFound("public key")))?
        }
    };
    Ok((
        StatusCode::CREATED,
        axum::Json(KeyJson::of(made, control.changes.now())),
    ))
}

/// `?last_key=true`.
pub struct LastKey(bool);

impl<S: Sync> FromRequestParts<S> for LastKey {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ControlError> {
        flag(parts, "last_key").map(Self)
    }
}

pub async fn delete_key(
    State(control): Shared,
    at: InWorkspace,
    LastKey(allow_last_key): LastKey,
) -> Result<StatusCode, ControlError> {
    control
        .apps
        .delete_key(&at.actor, &at.workspace, &at.app()?, &at.key()?, allow_last_key)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
