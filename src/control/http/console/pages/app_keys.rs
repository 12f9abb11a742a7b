//! The public keys of an OAuth app: adding one, and deleting one with what ends by it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use super::app::{crumbs, stop_accepting};
use super::apps::{KeyFields, new_key};
use crate::control::error::ControlError;
use crate::control::http::console::components::When;
use crate::control::http::console::confirm::Confirm;
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::fields::Fields;
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section, page};
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::domain::role::Action;

#[derive(Template)]
#[template(path = "key_new.html")]
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
        frame: visit.frame("Add a public key", Section::Apps),
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
    Ok(page(
        StatusCode::OK,
        &new_key_page(&control, &visit, None, &Problems::none()).await?,
    ))
}

/// `POST apps/{id}/keys/new`.
pub(crate) async fn add(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    let id = visit.app()?;
    match control
        .apps
        .add_key(&visit.actor, &visit.workspace.id, &id, &new_key(&fields))
        .await
    {
        Ok(_) => Ok(visit.done(&format!("/apps/{id}/settings"), "key-added")),
        Err(error) => {
            let problems = Problems::of(error)?;
            let answer = new_key_page(&control, &visit, Some(&fields), &problems).await?;
            Ok(page(problems.status, &answer))
        }
    }
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
        format!("The public key “{}” is deleted. {used}", key.name),
        format!(
            "{} Those are the tokens that this key proved; others stay.",
            stop_accepting(connected.total, live)
        ),
    ];
    let mut others = found.keys.iter().filter(|key| key.id != key_id).peekable();
    let rest = if others.peek().is_none() {
        "It is the last key of this OAuth app: until you add another one, it gets no tokens at all."
    } else if others.all(|key| key.last_used_at.is_none()) {
        "No client has used the other key yet: whoever signs with this one gets no tokens until it is moved to the other."
    } else {
        "Clients that sign with the other key notice nothing."
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
        back: format!("{}/apps/{id}/settings", visit.at),
    })
}

/// `GET apps/{id}/keys/{kid}/delete`.
pub(crate) async fn delete_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    Ok(page(
        StatusCode::OK,
        &delete_page(&control, &visit, &Problems::none()).await?,
    ))
}

/// `POST apps/{id}/keys/{kid}/delete`. The page before it has named the last key as such.
pub(crate) async fn delete(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    let (id, key) = (visit.app()?, visit.key()?);
    match control
        .apps
        .delete_key(&visit.actor, &visit.workspace.id, &id, &key, true)
        .await
    {
        Ok(()) => Ok(visit.done(&format!("/apps/{id}/settings"), "key-deleted")),
        Err(error) => {
            let problems = Problems::of(error)?;
            Ok(page(
                problems.status,
                &delete_page(&control, &visit, &problems).await?,
            ))
        }
    }
}
