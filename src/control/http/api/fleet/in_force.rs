//! Policy versions: every change says which one it made, and waits for all edges where it is asked to.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::control::changes::noting_version;
use crate::control::error::ControlError;
use crate::control::fleet::instance_state::EdgesInForce;
use crate::control::form::Form;
use crate::control::http::api::caller::Caller;
use crate::control::http::api::paging::query;
use crate::control::http::api::times::at_text;
use crate::control::http::state::Shared;
use crate::control::plane::Control;

/// The header that names the version a change made.
const VERSION_HEADER: &str = "x-portcullis-policy-version";

/// The longest wait for edges.
const WAIT_MAX: Duration = Duration::from_secs(25);

/// How long a wait is that names no timeout.
const WAIT: Duration = Duration::from_secs(2);

/// Instances named in one answer.
const NAMED_MAX: usize = 100;

/// Whether a policy version is in force.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VersionJson {
    policy_version: u64,
    edges: EdgesJson,
}

/// How far the edges are.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EdgesJson {
    /// Whether no instance accepts by an older version any more.
    complete: bool,
    in_force: usize,
    /// Instances that lost contact for `max_age`: they refuse what is enforced.
    lapsed: usize,
    pending: usize,
    /// Those of `pending` that never lapse (`when_stale: allow`).
    unbounded: usize,
    /// When it is complete at the latest; null where it is, and while an unbounded instance is pending.
    complete_by: Option<String>,
    /// The instances that are pending, for who may list edges; at most 100.
    waiting_for: Vec<WaitingJson>,
    waited_ms: u64,
}

/// An instance that does not have a version yet.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitingJson {
    /// The edge's id; null for the bundled gateway.
    edge: Option<String>,
    name: String,
    instance: String,
    version: u64,
    last_heard_at: String,
    lapses_at: Option<String>,
    refused: Option<String>,
}

fn edges_json(found: EdgesInForce, names: bool) -> EdgesJson {
    EdgesJson {
        complete: found.is_complete(),
        in_force: found.in_force,
        lapsed: found.lapsed,
        pending: found.pending.len(),
        unbounded: found.unbounded,
        complete_by: found.complete_by().map(at_text),
        waited_ms: u64::try_from(found.waited.as_millis()).unwrap_or(u64::MAX),
        waiting_for: found
            .pending
            .into_iter()
            .take(if names { NAMED_MAX } else { 0 })
            .map(|state| WaitingJson {
                edge: state.edge.map(|edge| edge.to_string()),
                name: state.name,
                instance: state.instance,
                version: state.version,
                last_heard_at: at_text(state.heard_at),
                lapses_at: state.lapses_at.map(at_text),
                refused: state.refused,
            })
            .collect(),
    }
}

/// Answers whether a version is in force.
pub async fn show(
    State(control): Shared,
    Caller(actor): Caller,
    Path(version): Path<String>,
    parts: Parts,
) -> Result<Response, ControlError> {
    let form = query(&parts, &["wait", "timeout"])?;
    let version: u64 = Some(&version)
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or(ControlError::NotFound("policy version"))?;
    if version > control.changes.newest_version().await? {
        return Err(ControlError::NotFound("policy version"));
    }
    let within = wanted(&form)?.unwrap_or_default();
    let bundled = control.changes.bundled();
    let found = control.instances.wait(version, bundled.as_ref(), within).await?;
    let names = control.edges.can_manage(&actor).await?;
    let status = status(&found);
    let shown = VersionJson {
        policy_version: version,
        edges: edges_json(found, names),
    };
    Ok((status, axum::Json(shown)).into_response())
}

fn status(found: &EdgesInForce) -> StatusCode {
    if found.is_complete() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    }
}

/// How long to wait for the edges, where the query says so.
fn wanted(form: &Form) -> Result<Option<Duration>, ControlError> {
    if let Some(name) = form.without_value() {
        return Err(ControlError::invalid(name, "the parameter has no value"));
    }
    let within = match form.get("timeout") {
        None => WAIT,
        Some(text) => duration(text).ok_or_else(|| {
            ControlError::invalid("timeout", "write a time such as 2s or 500ms, at most 25s")
        })?,
    };
    match form.get("wait") {
        None => Ok(None),
        Some("edges") => Ok(Some(within)),
        Some(_) => Err(ControlError::invalid("wait", "the only choice is `edges`")),
    }
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, Duration::from_millis(1)),
        None => (text.strip_suffix('s')?, Duration::from_secs(1)),
    };
    let plain = !number.is_empty() && number.len() <= 5 && number.bytes().all(|byte| byte.is_ascii_digit());
    let wanted = unit * plain.then(|| number.parse::<u32>().ok())??;
    (!wanted.is_zero() && wanted <= WAIT_MAX).then_some(wanted)
}

/// Names the version that a change made, and waits for the edges where it is asked to.
pub(crate) async fn policy_version(
    State(control): State<Arc<Control>>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD);
    let within = match is_change.then(|| take_wait(&mut request)).transpose() {
        Ok(within) => within.flatten(),
        Err(error) => return error.into_response(),
    };
    let (mut response, version) = noting_version(next.run(request)).await;
    let Some(version) = version else { return response };
    response
        .headers_mut()
        .insert(VERSION_HEADER, HeaderValue::from(version));
    // Committed and not yet in force at the bundled gateway is an answer here, no failure.
    let is_late = response.status() == StatusCode::SERVICE_UNAVAILABLE;
    match within {
        Some(within) if response.status().is_success() || is_late => {
            match with_edges(&control, response, version, within).await {
                Ok(response) => response,
                Err(error) => error.into_response(),
            }
        }
        _ => response,
    }
}

/// Takes `wait` and `timeout` out of the query: what the operation itself reads knows neither.
fn take_wait(request: &mut Request) -> Result<Option<Duration>, ControlError> {
    let uri = request.uri();
    let Some(text) = uri.query() else {
        return Ok(None);
    };
    let is_ours = |pair: &&str| pair.starts_with("wait=") || pair.starts_with("timeout=");
    let (ours, rest): (Vec<&str>, Vec<&str>) = text.split('&').partition(is_ours);
    let form = Form::parse(ours.join("&").as_bytes());
    let within = wanted(&form.map_err(|error| ControlError::invalid("query", error.to_string()))?)?;
    let target = match rest.is_empty() {
        true => uri.path().to_owned(),
        false => format!("{}?{}", uri.path(), rest.join("&")),
    };
    if let Ok(target) = target.parse() {
        *request.uri_mut() = target;
    }
    Ok(within)
}

async fn with_edges(
    control: &Control,
    response: Response,
    version: u64,
    within: Duration,
) -> Result<Response, ControlError> {
    let bundled = control.changes.bundled();
    let found = control.instances.wait(version, bundled.as_ref(), within).await?;
    let (mut parts, body) = response.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes);
    let body = body.map_err(|_| ControlError::Crypto("reading an answer"))?;
    let mut members = members(&body, parts.status);
    if !found.is_complete() || !parts.status.is_success() {
        parts.status = status(&found);
    } else if parts.status == StatusCode::NO_CONTENT {
        parts.status = StatusCode::OK;
    }
    members.insert("policy_version".to_owned(), Value::from(version));
    let edges = serde_json::to_value(edges_json(found, false));
    let edges = edges.map_err(|_| ControlError::Crypto("writing an answer"))?;
    members.insert("edges".to_owned(), edges);
    parts.headers.remove(header::CONTENT_LENGTH);
    parts
        .headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let text = Value::Object(members).to_string();
    Ok(Response::from_parts(parts, Body::from(text)))
}

/// The members of an answer, to add to; none of an answer without JSON, and of a problem.
fn members(body: &Bytes, status: StatusCode) -> Map<String, Value> {
    if !status.is_success() {
        return Map::new();
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}
