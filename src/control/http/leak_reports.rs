//! `POST /leaked-tokens/github`: reports of leaked tokens from secret scanning.

use super::body::read_body_up_to;
use super::memory::Reservation;
use super::problem::json;
use crate::control::actor::Actor;
use crate::control::bad_request::BODY_BYTES_MAX;
use crate::control::bad_request::BadRequest;
use crate::control::client_address::ClientAddress;
use crate::control::error::ControlError;
use crate::control::plane::Control;
use crate::control::tokens::github::Github;
use crate::control::tokens::leaked::GITHUB;
use crate::control::tokens::leaked::HEADER_CHARS_MAX;
use crate::control::tokens::leaked::Leak;
use crate::control::tokens::leaked::REPORT_BYTES_MAX;
use crate::control::tokens::leaked::Report;
use crate::control::tokens::leaked::Verdict;
use axum::Extension;
use axum::body::HttpBody as _;
use axum::extract::Request;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderMap;
use http::StatusCode;
use std::sync::Arc;
use std::time::Duration;

/// How long a report may wait for those before it.
pub(crate) const TURN_WITHIN: Duration = Duration::from_secs(5);

/// How long a report's body may take: a large one holds one of few permits.
pub(crate) const BODY_WITHIN: Duration = Duration::from_secs(10);

/// `POST /leaked-tokens/github`: GitHub's secret scanning reports tokens of ours.
pub(crate) async fn post_github(
    State(control): State<Arc<Control>>,
    Extension(from): Extension<ClientAddress>,
    request: Request,
) -> Result<Response, ControlError> {
    let Some(github) = &control.github else {
        return Err(BadRequest::Path.into());
    };
    let report = receive(&control, github, from, request).await;
    let report = report.map_err(|error| slow_down(&control, from, error))?;
    // A body is there whole before it takes a turn: a slow sender delays nobody else.
    let turn = tokio::time::timeout(TURN_WITHIN, github.turns.acquire()).await;
    let Ok(Ok(_turn)) = turn else {
        return Err(ControlError::Busy);
    };
    let entries = report.entries();
    let entries = entries.map_err(|error| slow_down(&control, from, error))?;
    let actor = Actor {
        from: Some(from.0),
        ..Actor::system(GITHUB)
    };
    let checking = Arc::clone(&control);
    // A signature each: off the threads that serve others.
    let leaks = tokio::task::spawn_blocking(move || {
        entries
            .iter()
            .map(|entry| Leak::new(entry, &checking.revocation))
            .collect::<Vec<_>>()
    });
    let leaks = leaks
        .await
        .map_err(|_| ControlError::Crypto("checking a report"))?;
    let ours = control.leaked_tokens.revoke_leaked(&actor, &leaks).await?;
    let verdicts: Vec<Verdict> = leaks
        .into_iter()
        .map(|leak| Verdict {
            label: if ours.contains(&leak.token_hash) {
                "true_positive"
            } else {
                "false_positive"
            },
            token_hash: leak.token_hash,
            token_type: leak.kind_word,
        })
        .collect();
    Ok(json(StatusCode::OK, "application/json", &verdicts).into_response())
}

/// Counts a report that proved nothing, and asks its sender to wait where there were too many of them.
pub(crate) fn slow_down(control: &Control, from: ClientAddress, error: ControlError) -> ControlError {
    let proves_nothing = matches!(
        error,
        ControlError::UnverifiedReport
            | ControlError::Request(BadRequest::Timeout | BadRequest::Broken | BadRequest::ReportTooLarge)
    );
    if !proves_nothing {
        return error;
    }
    match control.limits.failed_authentication(from) {
        Ok(()) => error,
        Err(wait) => wait.into(),
    }
}

/// Reads a report. One that says that it is small may be as large as any other request. A few
/// large ones are held at a time, of different senders, and none of a sender that has failed to prove itself too often.
pub(crate) async fn receive(
    control: &Control,
    github: &Github,
    from: ClientAddress,
    request: Request,
) -> Result<Report, ControlError> {
    let (identifier, signature) = (
        one_header(request.headers(), "github-public-key-identifier")?,
        one_header(request.headers(), "github-public-key-signature")?,
    );
    // The key first: nobody makes us hold a large body without naming one that is published.
    let key = github.key(&identifier).await.map_err(|_| ControlError::Busy)?;
    let key = key.ok_or(ControlError::UnverifiedReport)?;
    let length = request.body().size_hint().upper();
    let is_small =
        length.is_some_and(|bytes| usize::try_from(bytes).is_ok_and(|bytes| bytes <= BODY_BYTES_MAX));
    let (permit, bytes_max) = if is_small {
        (None, BODY_BYTES_MAX)
    } else {
        control.limits.may_fail(from)?;
        let acquiring = github.large.acquire(from.0);
        let permit = tokio::time::timeout(TURN_WITHIN, acquiring).await;
        let permit = permit.ok().flatten().ok_or(ControlError::Busy)?;
        // It may be larger than a client's share, and permits of its own bound it.
        if let Some(reservation) = request.extensions().get::<Arc<Reservation>>() {
            reservation.leave_client_share();
        }
        (Some(permit), REPORT_BYTES_MAX)
    };
    let body = read_body_up_to(request.into_body(), bytes_max);
    let body = tokio::time::timeout(BODY_WITHIN, body)
        .await
        .map_err(|_| BadRequest::Timeout)?;
    let body = body.map_err(|error| match error {
        BadRequest::TooLarge => BadRequest::ReportTooLarge,
        other => other,
    })?;
    Ok(Report {
        key,
        signature,
        body,
        _permit: permit,
    })
}

/// A header that is there once. One answer for whatever is wrong with a report's proof.
pub(crate) fn one_header(headers: &HeaderMap, name: &str) -> Result<String, ControlError> {
    let mut values = headers.get_all(name).iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(value), None) if value.len() <= HEADER_CHARS_MAX => Ok(value.to_owned()),
        _ => Err(ControlError::UnverifiedReport),
    }
}
