//! Edges in the API's form.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::error::ControlError;
use crate::control::fleet::instance_state::InstanceState;
use crate::control::http::api::caller::Caller;
use crate::control::http::api::json::Json;
use crate::control::http::api::paging::PageQuery;
use crate::control::http::api::request::NewName;
use crate::control::http::api::times::at_text;
use crate::control::http::state::Shared;
use crate::domain::ids::EdgeId;
use crate::domain::time::UnixSeconds;
use crate::model::edge::Edge;

/// An enrolled edge.
#[derive(Serialize, JsonSchema)]
pub struct EdgeJson {
    id: String,
    name: String,
    created_at: String,
    /// When it was revoked; absent while it may connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
    /// Whether it is asked to replace its key pair.
    rotating: bool,
    instances: Vec<InstanceJson>,
}

/// A running process of an edge.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstanceJson {
    pub id: String,
    /// `current`, `behind`, `lapsed`, `refusing` or `unbounded`.
    pub state: &'static str,
    /// The policy version in force; 0 before the first.
    pub version: u64,
    /// Seconds since it was heard.
    pub age_s: u64,
    pub build: String,
    pub last_heard_at: String,
    /// When it refuses what is enforced unless it is renewed; absent where it goes on without a fresh policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lapses_at: Option<String>,
    /// Why it refused the last update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// A new join token.
#[derive(Serialize, JsonSchema)]
pub struct JoinTokenJson {
    token: String,
    expires_at: String,
}

/// A change of an edge.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EdgeChange {
    #[serde(default)]
    name: Option<String>,
    /// `true` asks the edge to replace its key pair when it next opens a session.
    #[serde(default)]
    rotate: Option<bool>,
}

fn instance_json(state: InstanceState, newest: u64, now: UnixSeconds) -> InstanceJson {
    InstanceJson {
        state: state.word(newest),
        id: state.instance,
        version: state.version,
        age_s: now.since(state.heard_at),
        build: state.build,
        last_heard_at: at_text(state.heard_at),
        lapses_at: state.lapses_at.map(at_text),
        refused: state.refused,
    }
}

fn edge_json(edge: &Edge, states: &[InstanceState], newest: u64, now: UnixSeconds) -> EdgeJson {
    let own = states
        .iter()
        .filter(|state| state.edge.as_ref() == Some(&edge.id));
    EdgeJson {
        instances: own
            .map(|state| instance_json(state.clone(), newest, now))
            .collect(),
        id: edge.id.to_string(),
        name: edge.name.as_str().to_owned(),
        created_at: at_text(edge.created_at),
        revoked_at: edge.revoked_at.map(at_text),
        rotating: edge.rotate || edge.next_key.is_some(),
    }
}

pub async fn list(
    State(control): Shared,
    Caller(actor): Caller,
    query: PageQuery,
) -> Result<Response, ControlError> {
    let edges = control.edges.list(&actor).await?;
    let states = control.instances.states(None).await?;
    let (newest, now) = (control.changes.newest_version().await?, control.changes.now());
    let mut page = query.page();
    while let Some(part) = page.next_part() {
        let after = edges.iter().filter(|edge| edge.id.as_str() > part.after);
        let found = after.take(part.limit as usize).cloned().collect();
        page.add(
            found,
            |edge: &Edge| edge.id.as_str(),
            |edge| edge_json(&edge, &states, newest, now),
        )?;
    }
    page.finish()
}

pub async fn create_join_token(
    State(control): Shared,
    Caller(actor): Caller,
    Json(body): Json<NewName>,
) -> Result<(StatusCode, axum::Json<JoinTokenJson>), ControlError> {
    let token = control.edges.create_join_token(&actor, &body.name).await?;
    let shown = JoinTokenJson {
        token: token.expose().to_owned(),
        expires_at: at_text(token.expires_at),
    };
    Ok((StatusCode::CREATED, axum::Json(shown)))
}

pub async fn update(
    State(control): Shared,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Json(body): Json<EdgeChange>,
) -> Result<axum::Json<EdgeJson>, ControlError> {
    let id = EdgeId::parse(&id).map_err(|_| ControlError::NotFound("edge"))?;
    let mut changed = None;
    if let Some(name) = &body.name {
        changed = Some(control.edges.rename(&actor, &id, name).await?);
    }
    if body.rotate == Some(true) {
        changed = Some(control.edges.rotate(&actor, &id).await?);
    }
    let edge = changed.ok_or_else(|| ControlError::invalid("name", "send `name`, or `rotate: true`"))?;
    let states = control.instances.states(None).await?;
    let newest = control.changes.newest_version().await?;
    Ok(axum::Json(edge_json(
        &edge,
        &states,
        newest,
        control.changes.now(),
    )))
}

pub async fn revoke(
    State(control): Shared,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ControlError> {
    let id = EdgeId::parse(&id).map_err(|_| ControlError::NotFound("edge"))?;
    control.edges.revoke(&actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
