//! Tokens that were found in public: whoever scans for them reports them here, and they end.
//!
//! A report is believed by its signature alone. Its answer says of each token whether it is one of ours, in the
//! form of a digest; the same report, sent again, changes nothing and is answered alike. Nothing of a token is
//! logged or kept but its digest.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Bytes, HttpBody as _};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::github::Github;
use super::revoke::{OwnToken, revoke_change};
use crate::control::accounts::api_tokens::{hash as api_token_hash, is_api_token};
use crate::control::actor::Actor;
use crate::control::audit_event::{Deed, Event};
use crate::control::error::{BadRequest, ControlError, json};
use crate::control::http::body::{BODY_BYTES_MAX, read_body_up_to};
use crate::control::http::connections::Place;
use crate::control::http::memory::Reservation;
use crate::control::plane::Control;
use crate::control::rate_limits::ClientAddress;
use crate::domain::digest::sha256;
use crate::domain::ids::WorkspaceId;
use crate::domain::leak_report::ReportKey;
use crate::domain::role::Action;
use crate::domain::time::UnixSeconds;
use crate::snapshot::Change;
use crate::store::WriteTx;
use crate::store::directory::Page;
use crate::store::leaked::LeakNotice;

/// The largest report, in bytes: ten thousand tokens with their places.
const REPORT_BYTES_MAX: usize = 24 << 20;

/// The most tokens of one report.
const ENTRIES_MAX: usize = 10_000;

/// Tokens ended in one transaction, so that no other change waits for long.
const ENTRIES_AT_ONCE: usize = 200;

/// How long a report may wait for those before it.
const TURN_WITHIN: Duration = Duration::from_secs(5);

/// How long a report's body may take: a large one holds one of the few places.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// The longest header read, in characters.
const HEADER_CHARS_MAX: usize = 256;

const URL_CHARS_MAX: usize = 2_048;
const WORD_CHARS_MAX: usize = 64;

/// Who reports, in the audit trail and the notices.
const GITHUB: &str = "github_secret_scanning";

/// One token of a report. It has no `Debug`.
#[derive(Deserialize)]
struct Entry {
    token: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    source: Option<String>,
}

/// What is said of one token.
#[derive(Serialize)]
struct Verdict {
    /// SHA-256 of the token, in hexadecimal.
    token_hash: String,
    token_type: String,
    label: &'static str,
}

/// What a token turned out to be.
enum Kind {
    Access(OwnToken),
    /// It has the form of an API token; its hash.
    Api(String),
    Unknown,
}

/// A token of a report, without the token.
struct Leak {
    token_hash: String,
    kind: Kind,
    kind_word: String,
    url: String,
    source: String,
}

impl Leak {
    fn new(entry: &Entry, control: &Control) -> Self {
        let kind = match control.own_token(&entry.token) {
            Some(token) => Kind::Access(token),
            None if is_api_token(&entry.token) => Kind::Api(api_token_hash(&entry.token)),
            None => Kind::Unknown,
        };
        Self {
            token_hash: hexadecimal(&sha256(entry.token.as_bytes())),
            kind,
            kind_word: entry.kind.clone(),
            url: plain(entry.url.as_deref().unwrap_or_default(), URL_CHARS_MAX),
            source: plain(entry.source.as_deref().unwrap_or_default(), WORD_CHARS_MAX),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A text of somebody else's, fit to be kept: where a token was found is whatever its finder says.
fn plain(text: &str, chars: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(chars).collect()
}

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
    // A body is there whole before it takes a turn: whoever sends slowly holds up nobody.
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
            .map(|entry| Leak::new(entry, &checking))
            .collect::<Vec<_>>()
    });
    let leaks = leaks
        .await
        .map_err(|_| ControlError::Crypto("checking a report"))?;
    let ours = control.end_leaked(&actor, &leaks).await?;
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
fn slow_down(control: &Control, from: ClientAddress, error: ControlError) -> ControlError {
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

/// A report as it came, with the key that it says it is signed with.
struct Report {
    key: Arc<ReportKey>,
    signature: String,
    body: Bytes,
    /// The place of a large one, until it is done with.
    _place: Option<Place>,
}

impl Report {
    /// The entries, if the signature is one over the raw body.
    fn entries(&self) -> Result<Vec<Entry>, ControlError> {
        if !self.key.signed(&self.body, &self.signature) {
            return Err(ControlError::UnverifiedReport);
        }
        let entries: Vec<Entry> = serde_json::from_slice(&self.body).map_err(|_| BadRequest::Malformed)?;
        if entries.len() > ENTRIES_MAX {
            return Err(BadRequest::ReportTooLarge.into());
        }
        Ok(entries)
    }
}

/// Reads a report. One that says that it is small may be as large as any other request. There are places for a few
/// large ones at a time, of different senders, and none for who has proved nothing too often.
async fn receive(
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
    let (place, bytes_max) = if is_small {
        (None, BODY_BYTES_MAX)
    } else {
        control.limits.may_fail(from)?;
        let free = tokio::time::timeout(TURN_WITHIN, github.large.free()).await;
        let place = free
            .ok()
            .flatten()
            .and_then(|free| github.large.seat(free, from.0));
        let place = place.ok_or(ControlError::Busy)?;
        // It may be larger than a client's share, and places of its own bound it.
        if let Some(reservation) = request.extensions().get::<Arc<Reservation>>() {
            reservation.leave_client_share();
        }
        (Some(place), REPORT_BYTES_MAX)
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
        _place: place,
    })
}

/// A header that is there once. One answer for whatever is wrong with a report's proof.
fn one_header(headers: &HeaderMap, name: &str) -> Result<String, ControlError> {
    let mut values = headers.get_all(name).iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(value), None) if value.len() <= HEADER_CHARS_MAX => Ok(value.to_owned()),
        _ => Err(ControlError::UnverifiedReport),
    }
}

/// What one transaction does.
#[derive(Default)]
struct Ending {
    changes: Vec<Change>,
    events: Vec<Event>,
}

impl Control {
    /// Ends those of the tokens that live, in steps that each hold. Answers the digests of those that are ours.
    async fn end_leaked(&self, actor: &Actor, leaks: &[Leak]) -> Result<HashSet<String>, ControlError> {
        let mut ours = HashSet::new();
        let candidates: Vec<&Leak> = leaks
            .iter()
            .filter(|leak| !matches!(leak.kind, Kind::Unknown))
            .collect();
        for some in candidates.chunks(ENTRIES_AT_ONCE) {
            let mut tx = self.store.write().await?;
            let mut ending = Ending::default();
            for leak in some {
                if self.end_leak(&mut tx, leak, &mut ending).await? {
                    ours.insert(leak.token_hash.clone());
                }
            }
            // What is over already needs no further version.
            let Some(last) = ending.events.pop() else { continue };
            for event in ending.events {
                self.append_audit(&mut tx, actor, event).await?;
            }
            self.commit(tx, actor, &ending.changes, last).await?;
        }
        Ok(ours)
    }

    /// Ends one token. Answers whether it is one of ours.
    async fn end_leak(
        &self,
        tx: &mut WriteTx,
        leak: &Leak,
        ending: &mut Ending,
    ) -> Result<bool, ControlError> {
        let now = self.now();
        match &leak.kind {
            Kind::Unknown => Ok(false),
            Kind::Access(token) => {
                let is_over = token.over_at() <= now;
                let Some(app) = tx.app(&token.workspace, &token.app).await?.filter(|_| !is_over) else {
                    return Ok(true);
                };
                let notice = self.notice(
                    leak,
                    "access_token",
                    &token.workspace,
                    &token.token_id,
                    app.id.as_str(),
                    now,
                );
                if tx.insert_leak(&notice).await? {
                    let revocation = token.revocation(self.issuer(), now, "found in public");
                    if tx.insert_revocation(&revocation).await? {
                        ending.changes.push(revoke_change(&revocation));
                    }
                    ending.events.push(event(&notice, "app", &app.id, &app.name));
                }
                Ok(true)
            }
            Kind::Api(hash) => {
                let Some(token) = tx.leaked_api_token(hash).await? else {
                    return Ok(tx.has_leak(&leak.token_hash).await?);
                };
                let notice = self.notice(
                    leak,
                    "api_token",
                    &token.workspace,
                    &token.id,
                    token.member.as_str(),
                    now,
                );
                tx.insert_leak(&notice).await?;
                tx.delete_leaked_api_token(&token.id).await?;
                ending
                    .events
                    .push(event(&notice, "api_token", &token.id, &token.name));
                Ok(true)
            }
        }
    }

    fn notice(
        &self,
        leak: &Leak,
        kind: &str,
        workspace: &WorkspaceId,
        token_id: &str,
        owner: &str,
        now: UnixSeconds,
    ) -> LeakNotice {
        LeakNotice {
            id: self.ids.text("leak", now),
            workspace: workspace.clone(),
            kind: kind.to_owned(),
            token_hash: leak.token_hash.clone(),
            token_id: token_id.to_owned(),
            owner: owner.to_owned(),
            url: leak.url.clone(),
            source: leak.source.clone(),
            reporter: GITHUB.to_owned(),
            reported_at: now,
        }
    }

    /// One page of the tokens of a workspace that were found in public and that nobody has dismissed. For owners.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`].
    pub async fn leaked_tokens(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        page: Page<'_>,
    ) -> Result<Vec<LeakNotice>, ControlError> {
        actor.must(workspace, Action::ViewAudit)?;
        Ok(self.store.read().await?.leaks(workspace, page).await?)
    }

    /// Dismisses a notice. The token stays ended.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] or [`ControlError::Forbidden`].
    pub async fn dismiss_leak(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &str,
    ) -> Result<(), ControlError> {
        actor.must(workspace, Action::EditWorkspace)?;
        let mut tx = self.change(actor).await?;
        let notice = tx
            .leak(workspace, id)
            .await?
            .ok_or(ControlError::NotFound("leaked token"))?;
        if !tx.dismiss_leak(id, self.now()).await? {
            // It was dismissed already.
            return Ok(());
        }
        let event = Event::new(
            Deed::LeakDismissed,
            workspace,
            "leaked_token",
            &notice.id,
            &notice.kind,
        );
        self.commit(tx, actor, &[], event).await
    }
}

fn event(notice: &LeakNotice, kind: &'static str, id: &impl ToString, name: &impl ToString) -> Event {
    Event::new(Deed::TokenLeaked, &notice.workspace, kind, id, name).made(json!({
        "token_id": notice.token_id,
        "url": notice.url,
        "source": notice.source,
        "reporter": notice.reporter,
    }))
}
