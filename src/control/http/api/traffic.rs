//! What gateways counted, in the API's form.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::request::InWorkspace;
use super::times::at_text;
use crate::control::error::ControlError;
use crate::control::http::state::Shared;
use crate::control::sources::traffic::SourceTraffic;
use crate::model::traffic::Traffic;

/// A source's requests of late.
#[derive(Serialize, JsonSchema)]
pub struct TrafficJson {
    hour: Vec<KindJson>,
    day: Vec<KindJson>,
    /// Whether requests came in the last day, and none of them would have been denied.
    ready_to_enforce: bool,
}

/// Requests that had the same fate.
#[derive(Serialize, JsonSchema)]
pub struct KindJson {
    /// `allow`, `deny`, or `would_deny` for what is let through while the source is only observed.
    verdict: &'static str,
    /// Why, in the word of the gateway's denials.
    reason: Option<String>,
    /// The product that the client says it is; absent for requests that were allowed, and where a source has too many
    /// kinds of client to keep apart.
    client: Option<String>,
    address: Option<String>,
    requests: u64,
    /// When the last of them came, to five minutes.
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
        ready_to_enforce: found.is_ready_to_enforce(),
        hour: found.hour.into_iter().map(KindJson::from).collect(),
        day: found.day.into_iter().map(KindJson::from).collect(),
    }))
}
