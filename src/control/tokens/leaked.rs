//! Leaked tokens: a scanner reports tokens that it found in public, and they are revoked.
//!
//! Only its signature makes a report valid. The response labels each token, named by its digest, as issued by this server
//! or not. The same report, sent again, changes nothing and gets the same response. Only the digest of a token is logged
//! or stored.

use crate::control::changes::Changes;
use crate::control::ids::Ids;
use crate::domain::issue::IssuerIdentity;
use crate::store::Store;
use std::collections::HashSet;
use std::sync::Arc;

use axum::body::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::own_token::OwnToken;
use super::report_limiter::ReportPermit;
use super::revoke::TokenRevocation;
use super::revoke::revoke_change;
use crate::control::accounts::api_tokens::{hash as api_token_hash, is_api_token};
use crate::control::actor::Actor;
use crate::control::audit_event::{AuditAction, Event};
use crate::control::bad_request::BadRequest;
use crate::control::error::ControlError;
use crate::domain::digest::sha256;
use crate::domain::hex;
use crate::domain::ids::WorkspaceId;
use crate::domain::leak_report::ReportKey;
use crate::domain::role::Action;
use crate::domain::time::UnixSeconds;
use crate::model::leak::LeakNotice;
use crate::model::page::Page;
use crate::snapshot::Change;
use crate::store::WriteTx;

/// The largest report, in bytes: ten thousand tokens with their places.
pub(crate) const REPORT_BYTES_MAX: usize = 24 << 20;

/// The most tokens of one report.
const ENTRIES_MAX: usize = 10_000;

/// Tokens revoked in one transaction, so that no other change waits for long.
const ENTRIES_AT_ONCE: usize = 200;

/// The longest header read, in characters.
pub(crate) const HEADER_CHARS_MAX: usize = 256;

const URL_CHARS_MAX: usize = 2_048;
const WORD_CHARS_MAX: usize = 64;

/// The reporter's name in the audit trail and the notices.
pub(crate) const GITHUB: &str = "github_secret_scanning";

/// One token of a report. It has no `Debug`.
#[derive(Deserialize)]
pub(crate) struct Entry {
    pub(crate) token: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) url: Option<String>,
    #[serde(default)]
    pub(crate) source: Option<String>,
}

/// The label of one token in the response.
#[derive(Serialize)]
pub(crate) struct Verdict {
    /// SHA-256 of the token, in hexadecimal.
    pub(crate) token_hash: String,
    pub(crate) token_type: String,
    pub(crate) label: &'static str,
}

/// What kind of token was found.
pub(crate) enum Kind {
    Access(OwnToken),
    /// Hash of a text with the form of an API token.
    Api(String),
    Unknown,
}

/// A reported token, as its digest.
pub(crate) struct Leak {
    pub(crate) token_hash: String,
    pub(crate) kind: Kind,
    pub(crate) kind_word: String,
    pub(crate) url: String,
    pub(crate) source: String,
}

impl Leak {
    pub(crate) fn new(entry: &Entry, revocation: &TokenRevocation) -> Self {
        let kind = match revocation.own_token(&entry.token) {
            Some(token) => Kind::Access(token),
            None if is_api_token(&entry.token) => Kind::Api(api_token_hash(&entry.token)),
            None => Kind::Unknown,
        };
        Self {
            token_hash: hex::encode(&sha256(entry.token.as_bytes())),
            kind,
            kind_word: entry.kind.clone(),
            url: plain(entry.url.as_deref().unwrap_or_default(), URL_CHARS_MAX),
            source: plain(entry.source.as_deref().unwrap_or_default(), WORD_CHARS_MAX),
        }
    }
}

/// Text of the reporter, without control characters and cut to length.
fn plain(text: &str, chars: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(chars).collect()
}

/// A report before its signature is verified, with the key that it names.
pub(crate) struct Report {
    pub(crate) key: Arc<ReportKey>,
    pub(crate) signature: String,
    pub(crate) body: Bytes,
    /// Permit of a large report.
    pub(crate) _permit: Option<ReportPermit>,
}

impl Report {
    /// The entries, if the signature over the raw body is valid.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, ControlError> {
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

/// Changes and audit events of one transaction.
#[derive(Default)]
struct Revocations {
    changes: Vec<Change>,
    events: Vec<Event>,
}

/// Revokes leaked tokens, and keeps a notice of each.
pub struct LeakedTokenNotices {
    pub(crate) identity: Arc<IssuerIdentity>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
}

impl LeakedTokenNotices {
    /// Revokes those of the tokens that are still valid, some in each transaction. Answers the digests of the tokens that
    /// this server issued.
    pub(crate) async fn revoke_leaked(
        &self,
        actor: &Actor,
        leaks: &[Leak],
    ) -> Result<HashSet<String>, ControlError> {
        let mut ours = HashSet::new();
        let candidates: Vec<&Leak> = leaks
            .iter()
            .filter(|leak| !matches!(leak.kind, Kind::Unknown))
            .collect();
        for some in candidates.chunks(ENTRIES_AT_ONCE) {
            let mut tx = self.changes.begin(actor).await?;
            let mut batch = Revocations::default();
            for leak in some {
                if self.revoke_leak(&mut tx, leak, &mut batch).await? {
                    ours.insert(leak.token_hash.clone());
                }
            }
            // Tokens that were revoked before need no further policy version.
            let Some(last) = batch.events.pop() else { continue };
            for event in batch.events {
                self.changes.append_audit(&mut tx, actor, event).await?;
            }
            self.changes.commit(tx, &batch.changes, last).await?;
        }
        Ok(ours)
    }

    /// Revokes one token. Answers whether this server issued it.
    async fn revoke_leak(
        &self,
        tx: &mut WriteTx,
        leak: &Leak,
        batch: &mut Revocations,
    ) -> Result<bool, ControlError> {
        let now = self.changes.now();
        match &leak.kind {
            Kind::Unknown => Ok(false),
            Kind::Access(token) => {
                let is_over = token.over_at() <= self.changes.watch.passed();
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
                    let over_at = self.changes.watch.end_of_row(token.over_at());
                    let revocation =
                        token.revocation(self.identity.issuer.as_str(), now, over_at, "found in public");
                    if tx.insert_revocation(&revocation).await? {
                        batch.changes.push(revoke_change(&revocation));
                    }
                    batch.events.push(event(&notice, "app", &app.id, &app.name));
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
                batch
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

    /// One page of the notices of a workspace that were not dismissed. For owners.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`].
    pub async fn leaked_tokens(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        page: Page<'_>,
    ) -> Result<Vec<LeakNotice>, ControlError> {
        actor.require(workspace, Action::ViewAudit)?;
        Ok(self.store.read().await?.leaks(workspace, page).await?)
    }

    /// Dismisses a notice. The token stays revoked.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] or [`ControlError::Forbidden`].
    pub async fn dismiss_leak(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &str,
    ) -> Result<(), ControlError> {
        actor.require(workspace, Action::EditWorkspace)?;
        let mut tx = self.changes.begin(actor).await?;
        let notice = tx
            .leak(workspace, id)
            .await?
            .ok_or(ControlError::NotFound("leaked token"))?;
        if !tx.dismiss_leak(id, self.changes.now()).await? {
            // It was dismissed already.
            return Ok(());
        }
        let event = Event::new(
            AuditAction::LeakDismissed,
            workspace,
            "leaked_token",
            &notice.id,
            &notice.kind,
        );
        self.changes.commit(tx, &[], event).await
    }
}

fn event(notice: &LeakNotice, kind: &'static str, id: &impl ToString, name: &impl ToString) -> Event {
    Event::new(AuditAction::TokenLeaked, &notice.workspace, kind, id, name).made(json!({
        "token_id": notice.token_id,
        "url": notice.url,
        "source": notice.source,
        "reporter": notice.reporter,
    }))
}
