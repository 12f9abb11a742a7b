//! Tokens of the workspace that somebody found in public: what was reported, until somebody has dealt with it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use crate::control::error::ControlError;
use crate::control::http::console::components::{Field, PAGE_ITEMS, Pager, When};
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section, page};
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::control::tokens::revoke::Revoked;
use crate::domain::ids::{AppId, MemberId};
use crate::model::leak::LeakNotice;
use crate::model::page::Page as Span;

/// Notices counted one by one for the front page.
const COUNTED_MAX: u32 = 20;

#[derive(Template)]
#[template(path = "leaked.html")]
struct LeakedPage {
    frame: Frame,
    notices: Vec<Row>,
    pager: Pager,
    problem: String,
    /// What was pasted is a credential: it is not sent back.
    token: Field,
}

/// A notice. What its finder says of the place is anybody's text.
struct Row {
    id: String,
    kind: &'static str,
    token_id: String,
    /// The OAuth app or the member that the token spoke for.
    owner: String,
    owner_path: Option<String>,
    url: String,
    /// Whether the place can be opened: nothing but a web page is a link.
    opens: bool,
    source: String,
    reporter: String,
    reported: When,
}

impl Row {
    async fn of(control: &Control, visit: &PageContext, notice: LeakNotice) -> Result<Self, Fault> {
        let (kind, named) = if notice.kind == "api_token" {
            ("API token", member(control, visit, &notice.owner).await?)
        } else {
            ("Access token", app(control, visit, &notice.owner).await?)
        };
        let (owner, owner_path) = named.map_or((notice.owner, None), |(name, path)| (name, Some(path)));
        Ok(Self {
            kind,
            owner,
            owner_path,
            opens: notice.url.starts_with("https://"),
            id: notice.id,
            token_id: notice.token_id,
            url: notice.url,
            source: notice.source,
            reporter: if notice.reporter == "github_secret_scanning" {
                "GitHub".to_owned()
            } else {
                notice.reporter
            },
            reported: When::ago(notice.reported_at, visit.now),
        })
    }
}

/// Name and page of what a token spoke for, if it is still there.
async fn app(control: &Control, visit: &PageContext, id: &str) -> Result<Option<(String, String)>, Fault> {
    let Ok(id) = AppId::parse(id) else { return Ok(None) };
    let found = control
        .search
        .app_without_keys(&visit.actor, &visit.workspace.id, &id)
        .await;
    let named = found.map(|app| (app.name.to_string(), format!("{}/apps/{id}", visit.at)));
    if_there(named)
}

async fn member(control: &Control, visit: &PageContext, id: &str) -> Result<Option<(String, String)>, Fault> {
    let Ok(id) = MemberId::parse(id) else {
        return Ok(None);
    };
    let found = control.members.get(&visit.actor, &visit.workspace.id, &id).await;
    let named = found.map(|member| (member.email, format!("{}/members/{id}", visit.at)));
    if_there(named)
}

fn if_there<T>(found: Result<T, ControlError>) -> Result<Option<T>, Fault> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(ControlError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// How many notices there are, for the front page.
pub(crate) async fn count(control: &Control, visit: &PageContext) -> Result<String, Fault> {
    let span = Span {
        after: "",
        limit: COUNTED_MAX + 1,
    };
    let found = control
        .leaked_tokens
        .leaked_tokens(&visit.actor, &visit.workspace.id, span)
        .await?;
    let most = usize::try_from(COUNTED_MAX).unwrap_or(usize::MAX);
    Ok(match found.len() {
        0 => String::new(),
        count if count > most => format!("more than {most}"),
        count => count.to_string(),
    })
}

async fn list_page(control: &Control, visit: &PageContext, problems: &Problems) -> Result<LeakedPage, Fault> {
    let after = visit.query("after");
    let span = Span {
        after,
        limit: PAGE_ITEMS + 1,
    };
    let mut found = control
        .leaked_tokens
        .leaked_tokens(&visit.actor, &visit.workspace.id, span)
        .await?;
    let path = format!("{}/leaked-tokens?", visit.at);
    let pager = Pager::cut(&mut found, "notices", &path, after, |notice| notice.id.as_str());
    let mut notices = Vec::with_capacity(found.len());
    for notice in found {
        notices.push(Row::of(control, visit, notice).await?);
    }
    Ok(LeakedPage {
        frame: visit.frame("Leaked tokens", Section::Overview),
        notices,
        pager,
        problem: problems.of_form(&["token"]),
        token: Field::area("token", "Access token")
            .short()
            .hint("Of any OAuth app of this workspace. Paste the complete token, from the first letter to the last.")
            .problem(problems.of_field("token")),
    })
}

/// `GET leaked-tokens`.
pub(crate) async fn list(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let list = list_page(&control, &visit, &Problems::none()).await?;
    Ok(page(StatusCode::OK, &list))
}

/// `POST leaked-tokens`: a token that somebody has in their hands ends.
pub(crate) async fn revoke(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    let revoked = control
        .revocation
        .revoke_token_of_any_app(&visit.actor, &visit.workspace.id, fields.text("token"))
        .await;
    match revoked {
        Ok(Revoked::Now { .. }) => Ok(visit.done("/leaked-tokens", "token-revoked")),
        Ok(Revoked::Expired { .. }) => Ok(visit.done("/leaked-tokens", "token-expired")),
        Err(error) => {
            let problems = Problems::of(error)?;
            let list = list_page(&control, &visit, &problems).await?;
            Ok(page(problems.status, &list))
        }
    }
}

/// `POST leaked-tokens/{id}/dismiss`.
pub(crate) async fn dismiss(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    control
        .leaked_tokens
        .dismiss_leak(&visit.actor, &visit.workspace.id, visit.in_path("id"))
        .await?;
    Ok(visit.done("/leaked-tokens", "leak-dismissed"))
}
