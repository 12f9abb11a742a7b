//! Revoking all access tokens: of a key, of an app, or of the workspace.

use std::sync::Arc;

use axum::extract::State;

use super::app::crumbs;
use crate::control::error::ControlError;
use crate::control::http::console::answer::{answered, refused, shown};
use crate::control::http::console::components::{Field, counted};
use crate::control::http::console::confirm::{Confirm, Crumb};
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::Section;
use crate::control::http::console::notice::Notice;
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::control::tokens::revoke_all::TokensOf;
use crate::domain::ids::KeyId;
use crate::domain::role::Action;

/// `Revokes 3 active tokens. 2 sources stop accepting them immediately.`
fn revokes(live: u64, sources: u64) -> String {
    if live == 0 {
        return "No active tokens are affected.".to_owned();
    }
    let stop = if sources == 1 { "stops" } else { "stop" };
    format!(
        "Revokes {}. {} {stop} accepting them immediately.",
        counted(live, "active token"),
        counted(sources, "source")
    )
}

/// The page for an app, or for one key of it.
async fn app_page(
    control: &Control,
    visit: &PageContext,
    key: Option<&KeyId>,
    problems: &Problems,
) -> Result<Confirm, Fault> {
    visit.require(Action::EditApp)?;
    let id = visit.app()?;
    let workspace = &visit.workspace.id;
    let found = control.apps.get(&visit.actor, workspace, &id).await?;
    if key.is_some_and(|key| found.keys.iter().all(|held| held.id != *key)) {
        return Err(ControlError::NotFound("public key").into());
    }
    let live = control
        .search
        .live_tokens(&visit.actor, workspace, &id, key)
        .await?;
    let connected = control.search.connected(&visit.actor, workspace, &id, 1).await?;
    let (title, back) = match key {
        Some(_) => ("Revoke tokens of this key", visit.to.app_settings(&id)),
        None => ("Revoke all tokens", visit.to.app(&id)),
    };
    Ok(Confirm {
        frame: visit.frame(title, Section::Apps),
        crumbs: crumbs(visit, &found),
        problem: problems.of_form(&[]),
        will: vec![
            revokes(live, connected.total),
            "Clients get new tokens automatically. If a private key was stolen, delete its public key instead."
                .to_owned(),
        ],
        links: Vec::new(),
        fields: Vec::new(),
        button: title,
        destroys: true,
        back,
    })
}

/// `GET apps/{id}/revoke-all`.
pub(crate) async fn of_app_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    shown(&app_page(&control, &visit, None, &Problems::none()).await?)
}

/// `POST apps/{id}/revoke-all`.
pub(crate) async fn of_app(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    let id = visit.app()?;
    let revoked = control
        .revocation
        .revoke_all(&visit.actor, &visit.workspace.id, TokensOf::App(&id), None)
        .await;
    answered(
        revoked,
        |_| visit.done(&visit.to.app(&id), Notice::TokensRevoked),
        async |problems| app_page(&control, &visit, None, &problems).await,
    )
    .await
}

/// `GET apps/{id}/keys/{kid}/revoke`.
pub(crate) async fn of_key_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    shown(&app_page(&control, &visit, Some(&visit.key()?), &Problems::none()).await?)
}

/// `POST apps/{id}/keys/{kid}/revoke`.
pub(crate) async fn of_key(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    let (id, key) = (visit.app()?, visit.key()?);
    let revoked = control
        .revocation
        .revoke_all(&visit.actor, &visit.workspace.id, TokensOf::Key(&id, &key), None)
        .await;
    answered(
        revoked,
        |_| visit.done(&visit.to.app_settings(&id), Notice::TokensRevoked),
        async |problems| app_page(&control, &visit, Some(&key), &problems).await,
    )
    .await
}

/// The field in which the member confirms the step.
const CONFIRM: &str = "confirm";

async fn workspace_page(
    control: &Control,
    visit: &PageContext,
    problems: &Problems,
) -> Result<Confirm, Fault> {
    visit.require(Action::EditWorkspace)?;
    let counts = control
        .search
        .source_counts(&visit.actor, &visit.workspace.id)
        .await?;
    Ok(Confirm {
        frame: visit.frame("Revoke all tokens of this workspace", Section::LeakedTokens),
        crumbs: vec![Crumb::new(visit.to.leaked_tokens(), "Leaked tokens")],
        problem: problems.of_form(&[CONFIRM]),
        will: vec![
            format!(
                "Every access token of every OAuth app of this workspace stops working immediately. {} enforced.",
                match counts.on {
                    1 => "1 source is".to_owned(),
                    on => format!("{on} sources are"),
                }
            ),
            "Clients get new tokens automatically. API tokens are not affected.".to_owned(),
        ],
        links: Vec::new(),
        fields: vec![
            Field::text(CONFIRM, "Type “revoke all” to confirm").problem(problems.of_field(CONFIRM)),
        ],
        button: "Revoke all tokens of this workspace",
        destroys: true,
        back: visit.to.leaked_tokens(),
    })
}

/// `GET leaked-tokens/revoke-all`.
pub(crate) async fn of_workspace_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    shown(&workspace_page(&control, &visit, &Problems::none()).await?)
}

/// `POST leaked-tokens/revoke-all`.
pub(crate) async fn of_workspace(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    if !fields.text(CONFIRM).eq_ignore_ascii_case("revoke all") {
        let problems = Problems::at(CONFIRM, "type “revoke all” to confirm");
        return refused(problems, async |problems| {
            workspace_page(&control, &visit, &problems).await
        })
        .await;
    }
    let revoked = control
        .revocation
        .revoke_all(&visit.actor, &visit.workspace.id, TokensOf::Workspace, None)
        .await;
    answered(
        revoked,
        |_| visit.done(&visit.to.leaked_tokens(), Notice::TokensRevoked),
        async |problems| workspace_page(&control, &visit, &problems).await,
    )
    .await
}
