//! The traffic of sources in the management API.

use axum::extract::State;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::request::InWorkspace;
use super::times::at_text;
use crate::control::error::ControlError;
use crate::control::http::state::Shared;
use crate::control::sources::traffic::{Readiness, SourceTraffic};
use crate::model::traffic::Traffic;

/// The traffic of a source, and whether it is ready to enforce.
#[derive(Serialize, JsonSchema)]
pub struct TrafficJson {
    /// The requests of the last hour.
    hour: Vec<KindJson>,
    /// The requests of the last 24 hours.
    day: Vec<KindJson>,
    /// Since when requests are judged under the present rules: mode, app, and the keys and scopes of the app. Null while
    /// enforcement is off.
    observing_since: Option<String>,
    /// Requests judged under the present rules, of the last 24 hours or since `observing_since`, whichever is later.
    judged: u64,
    /// Judged requests that were denied, or would be denied if enforcement were on.
    would_deny: u64,
    /// Requests in the same time that were not judged under the present rules.
    unjudged: u64,
    /// Whether requests were judged under the present rules, and none of them would be denied.
    ready_to_enforce: bool,
}

/// Requests with the same verdict, reason and client.
#[derive(Serialize, JsonSchema)]
pub struct KindJson {
    /// `allow`, `deny`, or `would_deny` for a request that was allowed because the source is only observed.
    verdict: &'static str,
    /// The reason of the denial; null for allowed requests.
    reason: Option<String>,
    /// The first product of the client's `User-Agent`; null for allowed requests, and where a source has too many clients
    /// to keep apart.
    client: Option<String>,
    address: Option<String>,
    requests: u64,
    /// When the last of them arrived, to five minutes.
    last_at: String,
}

impl From<Traffic> for KindJson {
    fn from(kind: Traffic) -> Self {
        let some = |text: String| (!text.is_empty()).then_some(text);
        Self {
            verdict: kind.verdict.as_str(),
            reason: some(kind.reason),
            client: some(kind.agent),
            address: some(kind.address),
            requests: kind.requests,
            last_at: at_text(kind.last),
        }
    }
}

pub async fn show(State(control): Shared, at: InWorkspace) -> Result<axum::Json<TrafficJson>, ControlError> {
    let found: SourceTraffic = control
        .traffic
        .source_traffic(&at.actor, &at.workspace, &at.source()?)
        .await?;
    Ok(axum::Json(TrafficJson {
        observing_since: found.observing_since.map(at_text),
        judged: found.judged(),
        would_deny: found.would_deny(),
        unjudged: found.unjudged,
        ready_to_enforce: found.readiness() == Readiness::Ready,
        hour: found.hour.into_iter().map(KindJson::from).collect(),
        day: found.day.into_iter().map(KindJson::from).collect(),
    }))
}

/// `POST .../traffic/restart`.
pub async fn restart(State(control): Shared, at: InWorkspace) -> Result<StatusCode, ControlError> {
    control
        .sources
        .restart_observation(&at.actor, &at.workspace, &at.source()?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
