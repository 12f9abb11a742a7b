//! The API tokens of all members, for owners: the list, and revoking one.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use crate::control::http::console::answer::{answered, shown};
use crate::control::http::console::components::{Listing, Pager, When};
use crate::control::http::console::confirm::{Confirm, Crumb};
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section};
use crate::control::http::console::notice::Notice;
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::domain::role::Action;
use crate::model::api_token::MemberApiToken;

#[derive(Template)]
#[template(path = "security/api_tokens.html")]
struct ApiTokensPage {
    frame: Frame,
    tokens: Vec<Row>,
    pager: Pager,
}

struct Row {
    id: String,
    name: String,
    member: String,
    email: String,
    prefix: String,
    last_used: Option<When>,
    expires: Option<When>,
}

impl Row {
    fn of(token: MemberApiToken, visit: &PageContext) -> Self {
        let when = |at| When::ago(at, visit.now);
        Self {
            id: token.details.id,
            name: token.details.name.to_string(),
            member: token.member.to_string(),
            email: token.email,
            prefix: token.details.prefix,
            last_used: token.details.last_used_at.map(when),
            expires: token.details.expires_at.map(when),
        }
    }
}

/// `GET api-tokens`.
pub(crate) async fn list(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let listing = Listing {
        path: visit.to.api_tokens(),
        query: &[],
        after: visit.query("after"),
    };
    let mut found = control
        .api_tokens
        .api_tokens_of_workspace(&visit.actor, &visit.workspace.id, listing.span())
        .await?;
    let pager = Pager::cut(&mut found, "API tokens", &listing, |token| {
        token.details.id.as_str()
    });
    shown(&ApiTokensPage {
        frame: visit.frame("API tokens", Section::ApiTokens),
        tokens: found.into_iter().map(|token| Row::of(token, &visit)).collect(),
        pager,
    })
}

async fn revoke_page(control: &Control, visit: &PageContext, problems: &Problems) -> Result<Confirm, Fault> {
    visit.require(Action::ManageMembers)?;
    let found = control
        .api_tokens
        .api_token(&visit.actor, &visit.workspace.id, visit.in_path("id"))
        .await?;
    let used = found.details.last_used_at.map_or_else(
        || "It has never been used.".to_owned(),
        |at| format!("It was last used {}.", When::ago(at, visit.now).words()),
    );
    Ok(Confirm {
        frame: visit.frame("Revoke API token", Section::ApiTokens),
        crumbs: vec![Crumb::new(visit.to.api_tokens(), "API tokens")],
        problem: problems.of_form(&[]),
        will: vec![format!(
            "The API token “{}” of {} stops working immediately. {used}",
            found.details.name, found.email
        )],
        links: Vec::new(),
        fields: Vec::new(),
        button: "Revoke API token",
        destroys: true,
        back: visit.to.api_tokens(),
    })
}

/// `GET api-tokens/{id}/revoke`.
pub(crate) async fn revoke_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    shown(&revoke_page(&control, &visit, &Problems::none()).await?)
}

/// `POST api-tokens/{id}/revoke`.
pub(crate) async fn revoke(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    visit.require(Action::ManageMembers)?;
    let revoked = control
        .api_tokens
        .delete_api_token(&visit.actor, &visit.workspace.id, visit.in_path("id"))
        .await;
    answered(
        revoked,
        |()| visit.done(&visit.to.api_tokens(), Notice::ApiTokenRevoked),
        async |problems| revoke_page(&control, &visit, &problems).await,
    )
    .await
}
