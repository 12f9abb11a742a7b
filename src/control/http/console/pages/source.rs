//! One source: its overview, its settings, and deleting it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use super::sources::kind_words;
use crate::control::error::ControlError;
use crate::control::http::console::components::{Badge, Copy, Field, When};
use crate::control::http::console::confirm::{Confirm, Crumb};
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section, page};
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::domain::role::Action;
use crate::model::source::Source;

/// What the head of every page of a source shows.
pub(crate) struct Head {
    pub id: String,
    pub name: String,
    pub badge: Badge,
    pub tab: &'static str,
}

impl Head {
    pub fn new(source: &Source, tab: &'static str) -> Self {
        Self {
            id: source.id.to_string(),
            name: source.name.to_string(),
            badge: Badge::of(source.enforcement),
            tab,
        }
    }
}

/// The source that the path names.
pub(crate) async fn of_path(control: &Control, visit: &PageContext) -> Result<Source, Fault> {
    Ok(control
        .sources
        .get(&visit.actor, &visit.workspace.id, &visit.source()?)
        .await?)
}

/// The way down to a source.
pub(crate) fn crumbs(visit: &PageContext, source: &Source) -> Vec<Crumb> {
    vec![
        Crumb::new(format!("{}/sources", visit.at), "Sources"),
        Crumb::new(format!("{}/sources/{}", visit.at, source.id), &source.name),
    ]
}

#[derive(Template)]
#[template(path = "source.html")]
struct SourcePage {
    frame: Frame,
    head: Head,
    id: Copy,
    kind: &'static str,
    scope: &'static str,
    write_key: Copy,
    app: Option<(String, String)>,
    made: When,
}

/// `GET sources/{id}`.
pub(crate) async fn overview(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let source = of_path(&control, &visit).await?;
    let app = connected_app(&control, &visit, &source).await?;
    Ok(page(
        StatusCode::OK,
        &SourcePage {
            frame: visit.frame(source.name.as_str(), Section::Sources),
            head: Head::new(&source, "overview"),
            id: Copy::new("Source id", &source.id),
            kind: kind_words(source.kind),
            scope: source.kind.scope(),
            write_key: Copy::new("Write key", source.write_key.expose()),
            app,
            made: When::on(source.created_at),
        },
    ))
}

/// Id and name of the app that a source is connected to. Who may see the source may know as much.
pub(crate) async fn connected_app(
    control: &Control,
    visit: &PageContext,
    source: &Source,
) -> Result<Option<(String, String)>, Fault> {
    let Some(id) = &source.app else {
        return Ok(None);
    };
    match control
        .search
        .app_without_keys(&visit.actor, &visit.workspace.id, id)
        .await
    {
        Ok(found) => Ok(Some((id.to_string(), found.name.to_string()))),
        Err(ControlError::Forbidden(_)) => Ok(Some((id.to_string(), id.to_string()))),
        Err(error) => Err(error.into()),
    }
}

#[derive(Template)]
#[template(path = "source_settings.html")]
struct SettingsPage {
    frame: Frame,
    head: Head,
    problem: String,
    may_edit: bool,
    name: Field,
    revision: u64,
    theirs: Option<String>,
}

fn settings_page(
    visit: &PageContext,
    source: &Source,
    typed: Option<&str>,
    problems: &Problems,
) -> SettingsPage {
    SettingsPage {
        frame: visit.frame(format!("Settings of {}", source.name), Section::Sources),
        head: Head::new(source, "settings"),
        problem: problems.of_form(&["name"]),
        may_edit: visit.may_for(Action::EditSource, source),
        name: Field::text("name", "Source name")
            .value(typed.unwrap_or(source.name.as_str()))
            .problem(problems.of_field("name")),
        revision: source.revision,
        theirs: None,
    }
}

/// `GET sources/{id}/settings`.
pub(crate) async fn settings(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let source = of_path(&control, &visit).await?;
    Ok(page(
        StatusCode::OK,
        &settings_page(&visit, &source, None, &Problems::none()),
    ))
}

/// `POST sources/{id}/settings`.
pub(crate) async fn save(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    let id = visit.source()?;
    let typed = fields.text("name");
    let renamed = control
        .sources
        .rename(&visit.actor_who_saw(&fields), &visit.workspace.id, &id, typed)
        .await;
    let Err(error) = renamed else {
        return Ok(visit.done(&format!("/sources/{id}/settings"), "source-saved"));
    };
    let source = of_path(&control, &visit).await?;
    if matches!(error, ControlError::Changed { .. }) {
        let answer = SettingsPage {
            theirs: Some(source.name.to_string()),
            ..settings_page(&visit, &source, Some(typed), &Problems::none())
        };
        return Ok(page(StatusCode::CONFLICT, &answer));
    }
    let problems = Problems::of(error)?;
    Ok(page(
        problems.status,
        &settings_page(&visit, &source, Some(typed), &problems),
    ))
}

async fn delete_page(control: &Control, visit: &PageContext, problems: &Problems) -> Result<Confirm, Fault> {
    let source = of_path(control, visit).await?;
    visit.require_on_source(Action::EditSource, &source)?;
    Ok(Confirm {
        frame: visit.frame("Delete source", Section::Sources),
        crumbs: crumbs(visit, &source),
        problem: problems.of_form(&[]),
        will: vec![
            format!("The source “{}” and its write key end, for good.", source.name),
            "Every request with that write key is from an unknown source from then on, and treated as the gateway's configuration says: denied, unless it forwards unknown sources.".to_owned(),
        ],
        links: Vec::new(),
        fields: Vec::new(),
        button: "Delete source",
        destroys: true,
        back: format!("{}/sources/{}/settings", visit.at, source.id),
    })
}

/// `GET sources/{id}/delete`.
pub(crate) async fn delete_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    Ok(page(
        StatusCode::OK,
        &delete_page(&control, &visit, &Problems::none()).await?,
    ))
}

/// `POST sources/{id}/delete`.
pub(crate) async fn delete(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    match control
        .sources
        .delete(&visit.actor, &visit.workspace.id, &visit.source()?)
        .await
    {
        Ok(()) => Ok(visit.done("/sources", "source-deleted")),
        Err(error) => {
            let problems = Problems::of(error)?;
            Ok(page(
                problems.status,
                &delete_page(&control, &visit, &problems).await?,
            ))
        }
    }
}
