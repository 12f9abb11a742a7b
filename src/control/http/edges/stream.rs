//! `GET /changes`: server-sent events, first what the store has after the position that the edge names, then what comes.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::Stream;
use futures::stream::unfold;
use http::{HeaderMap, HeaderValue, header};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::in_session::InSession;
use super::service::EdgeState;
use crate::control::error::ControlError;
use crate::control::fleet::hub::Encoded;
use crate::control::fleet::sessions::Session;
use crate::fleet::position::Position;

/// How long a stream lives at most: edges spread over the control planes anew after a restart of one.
const STREAM_WITHIN: Duration = Duration::from_secs(1_800);

/// Follows the changes after the position in `Last-Event-ID`.
pub(super) async fn changes(
    State(state): State<Arc<EdgeState>>,
    InSession(session): InSession,
    headers: HeaderMap,
) -> Result<Response, ControlError> {
    let position = match headers.get("last-event-id") {
        None => None,
        Some(value) => {
            let position = value.to_str().ok().and_then(|text| text.parse::<Position>().ok());
            let refused = || ControlError::invalid("Last-Event-ID", "is no policy position");
            Some(position.ok_or_else(refused)?)
        }
    };
    let began = state.edges.changes.clock.uptime();
    let follower = Follower {
        events: state.hub.events(),
        step: position.map_or(Step::Snapshot, Step::Store),
        state,
        session,
        began,
    };
    let mut response = Body::from_stream(follower.stream()).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Where a stream is.
enum Step {
    /// The store has more after this position, or may have.
    Store(Position),
    /// All of the store was sent; what comes after this position is in the ring.
    Ring(Position),
    /// The feed does not lead on from where the edge is.
    Snapshot,
    End,
}

struct Follower {
    state: Arc<EdgeState>,
    session: Session,
    events: broadcast::Receiver<Encoded>,
    step: Step,
    began: Duration,
}

impl Follower {
    fn stream(self) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
        unfold(self, |mut follower| async move {
            let text = follower.next().await?;
            Some((Ok(text), follower))
        })
    }

    /// The next piece of the stream, or none at its end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.step {
                Step::Snapshot => {
                    self.step = Step::End;
                    return Some(Bytes::from_static(b"event: snapshot\ndata:\n\n"));
                }
                Step::Store(position) => match self.state.hub.changes_after(position).await {
                    Err(_) => return None,
                    Ok(None) => self.step = Step::Snapshot,
                    Ok(Some(events)) if events.is_empty() => {
                        self.step = Step::Ring(position);
                        // The head of the answer reaches the edge with it.
                        return Some(Bytes::from_static(b": follow\n\n"));
                    }
                    Ok(Some(events)) => {
                        let mut text = String::new();
                        for event in &events {
                            text.push_str(&Encoded::of(event).ok()?.text);
                            self.step = Step::Store(event.position);
                        }
                        return Some(text.into());
                    }
                },
                Step::Ring(position) => return self.follow(position).await,
                Step::End => return None,
            }
        }
    }

    /// What comes next in the ring, or a sign of life.
    async fn follow(&mut self, position: Position) -> Option<Bytes> {
        loop {
            let clock = &self.state.edges.changes.clock;
            let is_old = clock.uptime().saturating_sub(self.began) > STREAM_WITHIN;
            if is_old || !self.state.instances.is_enrolled(&self.session.edge) {
                return None;
            }
            match tokio::time::timeout(self.state.heartbeat, self.events.recv()).await {
                Err(_) => {
                    // What the ring did not bring, such as changes of another history, the store tells.
                    if let Some(newest) = self.state.hub.newest()
                        && newest.position != position
                        && newest.position.version >= position.version
                    {
                        self.step = Step::Store(position);
                        return self.next_boxed().await;
                    }
                    return Some(Bytes::from_static(b":\n\n"));
                }
                Ok(Ok(event)) if event.position.version <= position.version => {
                    if event.position.version == position.version && event.position != position {
                        self.step = Step::Snapshot;
                        return self.next_boxed().await;
                    }
                }
                Ok(Ok(event)) if event.position.version == position.version + 1 => {
                    self.step = Step::Ring(event.position);
                    return Some(Bytes::copy_from_slice(event.text.as_bytes()));
                }
                // Behind the ring, or a gap: the store has what is missing.
                Ok(Ok(_) | Err(RecvError::Lagged(_))) => {
                    self.step = Step::Store(position);
                    return self.next_boxed().await;
                }
                Ok(Err(RecvError::Closed)) => return None,
            }
        }
    }

    fn next_boxed(&mut self) -> futures::future::BoxFuture<'_, Option<Bytes>> {
        Box::pin(self.next())
    }
}
