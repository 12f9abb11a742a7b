//! The routes of the edge protocol.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Extension, Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::Stream;
use futures::stream::unfold;
use http::{HeaderValue, StatusCode, header};

use super::in_session::InSession;
use super::reported::checked;
use super::service::EdgeState;
use super::stream::changes;
use crate::control::bad_request::BadRequest;
use crate::control::client_address::ClientAddress;
use crate::control::error::ControlError;
use crate::control::fleet::sessions::SESSION_S;
use crate::control::http::api::json::Json;
use crate::control::http::observed::note_route;
use crate::fleet::protocol::{
    Beat, BeatAnswer, Denials, Join, Joined, MESSAGE_BYTES_MAX, NewKey, Nonce, NumberedReport, OpenSession,
    POSITION_HEADER, ROOT, SessionOpened,
};

/// How long a message and its answer may take. The change stream and snapshots have bounds of their own.
const MESSAGE_WITHIN: Duration = Duration::from_secs(30);

/// The largest message of a sender that has not proved which edge it is, in bytes.
const UNPROVED_BYTES_MAX: usize = 4 << 10;

/// How much of a snapshot is handed to a connection at once, in bytes.
const SNAPSHOT_PART_BYTES: usize = 64 << 10;

type Shared = State<Arc<EdgeState>>;

pub(super) fn routes(state: Arc<EdgeState>) -> Router {
    let messages = Router::new()
        .route("/join", post(join))
        .route("/nonces", post(nonce))
        .route("/sessions", post(open_session).delete(end_session))
        .route("/keys", post(new_key))
        .route("/beats", post(beat))
        .route("/reports", post(report))
        .route("/denials", post(denials))
        .layer(from_fn(deadline))
        .layer(DefaultBodyLimit::max(MESSAGE_BYTES_MAX));
    let protocol = messages
        .route("/changes", get(changes))
        .route("/snapshot", get(snapshot));
    Router::new()
        .nest(ROOT, protocol)
        .fallback(async || ControlError::Request(BadRequest::Path))
        .method_not_allowed_fallback(async || ControlError::Request(BadRequest::Method))
        .layer(from_fn(note_route))
        .with_state(state)
}

/// Ends a message that takes too long.
async fn deadline(request: Request, next: Next) -> Response {
    match tokio::time::timeout(MESSAGE_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ControlError::Request(BadRequest::Timeout).into_response(),
    }
}

async fn join(
    State(state): Shared,
    Extension(from): Extension<ClientAddress>,
    request: Request,
) -> Result<axum::Json<Joined>, ControlError> {
    state.limits.may_fail(from)?;
    let (Json(join), _) = Json::<Join>::up_to(request, UNPROVED_BYTES_MAX).await?;
    let joined = state.edges.join(join.token.expose(), &join.public_key).await;
    let edge = joined.map_err(|error| state.failed(from, error))?;
    let answer = Joined {
        edge: edge.id.to_string(),
        name: edge.name.as_str().to_owned(),
    };
    tracing::info!(edge.id = answer.edge, edge.name = answer.name, "{EDGE_JOINED}");
    state.instances.add_edge(edge);
    Ok(axum::Json(answer))
}

async fn nonce(State(state): Shared) -> Result<axum::Json<Nonce>, ControlError> {
    let nonce = state.sessions.nonce()?;
    Ok(axum::Json(Nonce { nonce }))
}

async fn open_session(
    State(state): Shared,
    Extension(from): Extension<ClientAddress>,
    request: Request,
) -> Result<axum::Json<SessionOpened>, ControlError> {
    state.limits.may_fail(from)?;
    let (Json(wanted), _) = Json::<OpenSession>::up_to(request, UNPROVED_BYTES_MAX).await?;
    let opened = state.sessions.open(&wanted).await;
    let (token, rotate_key) = opened.map_err(|error| state.failed(from, error))?;
    Ok(axum::Json(SessionOpened {
        token,
        expires_in_s: SESSION_S,
        max_age_s: state.instances.max_age().as_secs(),
        heartbeat_ms: u64::try_from(state.heartbeat.as_millis()).unwrap_or(u64::MAX),
        rotate_key,
    }))
}

async fn end_session(
    State(state): Shared,
    InSession(session): InSession,
) -> Result<StatusCode, ControlError> {
    state.sessions.end(&session).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn new_key(
    State(state): Shared,
    InSession(session): InSession,
    Json(key): Json<NewKey>,
) -> Result<StatusCode, ControlError> {
    state.edges.offer_key(&session.edge, &key.public_key).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn beat(
    State(state): Shared,
    InSession(session): InSession,
    Json(beat): Json<Beat>,
) -> Result<axum::Json<BeatAnswer>, ControlError> {
    let newest = state.hub.newest().ok_or(ControlError::Busy)?;
    let max_age = state.instances.beat(
        &session.instance,
        beat.position,
        beat.refused.as_deref(),
        newest.position,
    );
    let age = state.edges.changes.clock.uptime().saturating_sub(newest.asked);
    Ok(axum::Json(BeatAnswer {
        number: beat.number,
        newest: newest.position,
        age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        max_age_s: Some(max_age.as_secs()),
    }))
}

async fn report(
    State(state): Shared,
    InSession(session): InSession,
    request: Request,
) -> Result<StatusCode, ControlError> {
    let _turn = state.begin_report(&session.edge)?;
    let (Json(numbered), _) = Json::<NumberedReport>::up_to(request, MESSAGE_BYTES_MAX).await?;
    let report = checked(numbered.report)?;
    if state.instances.is_new_report(&session.instance, numbered.number) {
        state.traffic.add(&report).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn denials(
    State(state): Shared,
    InSession(session): InSession,
    request: Request,
) -> Result<StatusCode, ControlError> {
    let (Json(denials), _) = Json::<Denials>::up_to(request, MESSAGE_BYTES_MAX).await?;
    state.edges.recover(&session.edge, denials).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn snapshot(State(state): Shared, _session: InSession) -> Result<Response, ControlError> {
    let packed = state.hub.snapshot().await?;
    let mut response = Body::from_stream(in_parts(packed.bytes)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    if let Ok(position) = HeaderValue::from_str(&packed.position.to_string()) {
        headers.insert(POSITION_HEADER, position);
    }
    Ok(response)
}

/// A snapshot in parts: an edge that reads slowly shows that it reads.
fn in_parts(bytes: Bytes) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    unfold(bytes, |mut rest| async move {
        let part = rest.split_to(rest.len().min(SNAPSHOT_PART_BYTES));
        (!part.is_empty()).then_some((Ok(part), rest))
    })
}

const EDGE_JOINED: &str = "edge joined";
