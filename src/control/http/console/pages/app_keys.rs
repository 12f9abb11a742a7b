//! The public keys of an OAuth app: adding one, and deleting one together with its tokens.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::app::crumbs;
use super::apps::{KeyFields, new_key};
use crate::control::error::ControlError;
use crate::control::http::console::answer::{answered, shown};
use crate::control::http::console::components::{When, counted};
use crate::control::http::console::confirm::Confirm;
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::fields::Fields;
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section};
use crate::control::http::console::notice::Notice;
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::domain::role::Action;

#[derive(Template)]
#[template(path = "apps/new_key.html")]
struct NewKeyPage {
    frame: Frame,
    app_id: String,
    app_name: String,
    problem: String,
    key: KeyFields,
}

async fn new_key_page(
    control: &Control,
    visit: &PageContext,
    fields: Option<&Fields>,
    problems: &Problems,
) -> Result<NewKeyPage, Fault> {
    visit.require(Action::EditApp)?;
    let id = visit.app()?;
    let found = control.apps.get(&visit.actor, &visit.workspace.id, &id).await?;
    Ok(NewKeyPage {
        frame: visit.frame("Add public key", Section::Apps),
        app_id: id.to_string(),
        app_name: found.app.name.to_string(),
        problem: problems.of_form(&["pem", "name"]),
        key: KeyFields {
            file: "new-",
            ..KeyFields::new(fields, problems, "")
        },
    })
}

/// `GET apps/{id}/keys/new`.
pub(crate) async fn add_form(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    shown(&new_key_page(&control, &visit, None, &Problems::none()).await?)
}

/// `POST apps/{id}/keys/new`.
pub(crate) async fn add(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    let id = visit.app()?;
    answered(
        control
            .apps
            .add_key(
                &visit.actor,
                &visit.workspace.id,
                &id,
                &new_key(&fields, visit.now),
            )
            .await,
        |_| visit.done(&visit.to.app_settings(&id), Notice::KeyAdded),
        async |problems| new_key_page(&control, &visit, Some(&fields), &problems).await,
    )
    .await
}

/// `Ends 3 active tokens issued with this key, on 2 sources.`
fn tokens_of_key(live: u64, sources: u64, has_other: bool) -> String {
    if live == 0 {
        return "No active tokens were issued with this key.".to_owned();
    }
    let rest = if has_other {
        " Tokens from the other key keep working."
    } else {
        ""
    };
    format!(
        "Ends {} issued with this key, on {}.{rest}",
        counted(live, "active token"),
        counted(sources, "source")
    )
}

async fn delete_page(control: &Control, visit: &PageContext, problems: &Problems) -> Result<Confirm, Fault> {
    visit.require(Action::EditApp)?;
    let (id, key_id) = (visit.app()?, visit.key()?);
    let workspace = &visit.workspace.id;
    let found = control.apps.get(&visit.actor, workspace, &id).await?;
    let key = found.keys.iter().find(|key| key.id == key_id);
    let key = key.ok_or(ControlError::NotFound("public key"))?;
    let live = control
        .search
        .live_tokens(&visit.actor, workspace, &id, Some(&key_id))
        .await?;
    let connected = control.search.connected(&visit.actor, workspace, &id, 1).await?;
    let used = key.last_used_at.map_or_else(
        || "It has never been used.".to_owned(),
        |at| format!("It was last used {}.", When::ago(at, visit.now).words()),
    );
    let mut will = vec![
        format!("Deletes the public key “{}”. {used}", key.name),
        tokens_of_key(live, connected.total, found.keys.len() > 1),
    ];
    let mut others = found.keys.iter().filter(|key| key.id != key_id).peekable();
    let rest = if others.peek().is_none() {
        "This is the last key of this OAuth app. The app gets no tokens until you add another key."
    } else if others.all(|key| key.last_used_at.is_none()) {
        "The other key has never been used. Clients that sign with this key will stop getting tokens."
    } else {
        "Clients that sign with the other key are not affected."
    };
    will.push(rest.to_owned());
    Ok(Confirm {
        frame: visit.frame("Delete public key", Section::Apps),
        crumbs: crumbs(visit, &found),
        problem: problems.of_form(&[]),
        will,
        links: Vec::new(),
        fields: Vec::new(),
        button: if found.keys.len() == 1 {
            "Delete the last key"
        } else {
            "Delete public key"
        },
        destroys: true,
        back: visit.to.app_settings(&id),
    })
}

/// `GET apps/{id}/keys/{kid}/delete`.
pub(crate) async fn delete_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    shown(&delete_page(&control, &visit, &Problems::none()).await?)
}

/// `POST apps/{id}/keys/{kid}/delete`. The page before it says so if the key is the last one.
pub(crate) async fn delete(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    let (id, key) = (visit.app()?, visit.key()?);
    answered(
        control
            .apps
            .delete_key(&visit.actor, &visit.workspace.id, &id, &key, true)
            .await,
        |()| visit.done(&visit.to.app_settings(&id), Notice::KeyDeleted),
        async |problems| delete_page(&control, &visit, &problems).await,
    )
    .await
}
