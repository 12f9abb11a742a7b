//! One source: its overview, its settings, and deleting it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use super::sources::kind_words;
use crate::control::error::ControlError;
use crate::control::http::console::answer::{answered, refused, shown};
use crate::control::http::console::components::{Badge, Copy, Field, When};
use crate::control::http::console::confirm::{Confirm, Crumb};
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section, page};
use crate::control::http::console::notice::Notice;
use crate::control::http::console::observed::Observed;
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::domain::policy::Enforcement;
use crate::domain::role::Action;
use crate::model::search::Blocker;
use crate::model::source::Source;

/// The head of every page of a source.
pub(crate) struct Head {
    pub id: String,
    pub name: String,
    pub badge: Badge,
    pub enforced: bool,
    /// Why the source denies every request, if it does.
    pub denies_all: Option<&'static str>,
    pub tab: &'static str,
}

impl Head {
    pub async fn of(control: &Control, source: &Source, tab: &'static str) -> Result<Self, Fault> {
        let blocker = control.search.blocker(source).await?;
        let enforced = source.enforcement == Enforcement::On;
        Ok(Self {
            id: source.id.to_string(),
            name: source.name.to_string(),
            badge: Badge::of_source(source.enforcement, blocker),
            enforced,
            denies_all: blocker.filter(|_| enforced).map(why_all),
            tab,
        })
    }
}

/// Why an enforced source denies every request.
const fn why_all(blocker: Blocker) -> &'static str {
    match blocker {
        Blocker::NoApp => "No OAuth app is connected. Connect one, or turn off enforcement.",
        Blocker::NoKey => {
            "The connected OAuth app has no public key, so it cannot get tokens. Add a key to the app."
        }
        Blocker::NoScope => {
            "The connected OAuth app lacks the scope that this source requires. Add the scope to the app."
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

/// The breadcrumb down to a source.
pub(crate) fn crumbs(visit: &PageContext, source: &Source) -> Vec<Crumb> {
    vec![
        Crumb::new(visit.to.sources(), "Sources"),
        Crumb::new(visit.to.source(&source.id), &source.name),
    ]
}

#[derive(Template)]
#[template(path = "sources/overview.html")]
struct SourcePage {
    frame: Frame,
    head: Head,
    id: Copy,
    kind: &'static str,
    scope: &'static str,
    write_key: Copy,
    app: Option<(String, String)>,
    observed: Observed,
    created: When,
}

/// `GET sources/{id}`.
pub(crate) async fn overview(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let source = of_path(&control, &visit).await?;
    let app = connected_app(&control, &visit, &source).await?;
    shown(&SourcePage {
        frame: visit.frame(source.name.as_str(), Section::Sources),
        head: Head::of(&control, &source, "overview").await?,
        id: Copy::new("Source ID", &source.id),
        kind: kind_words(source.kind),
        scope: source.kind.scope(),
        write_key: Copy::new("Write key", source.write_key.expose()),
        app,
        observed: Observed::of(&control, &visit, &source).await?,
        created: When::on(source.created_at),
    })
}

/// ID and name of the connected app. Everybody who may view the source may know them.
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
#[template(path = "sources/settings.html")]
struct SettingsPage {
    frame: Frame,
    head: Head,
    problem: String,
    may_edit: bool,
    name: Field,
    revision: u64,
    theirs: Option<String>,
}

async fn settings_page(
    control: &Control,
    visit: &PageContext,
    source: &Source,
    typed: Option<&str>,
    problems: &Problems,
) -> Result<SettingsPage, Fault> {
    Ok(SettingsPage {
        frame: visit.frame(format!("Settings of {}", source.name), Section::Sources),
        head: Head::of(control, source, "settings").await?,
        problem: problems.of_form(&["name"]),
        may_edit: visit.may_for(Action::EditSource, source),
        name: Field::text("name", "Source name")
            .value(typed.unwrap_or(source.name.as_str()))
            .problem(problems.of_field("name")),
        revision: source.revision,
        theirs: None,
    })
}

/// `GET sources/{id}/settings`.
pub(crate) async fn settings(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let source = of_path(&control, &visit).await?;
    shown(&settings_page(&control, &visit, &source, None, &Problems::none()).await?)
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
        return Ok(visit.done(&visit.to.source_settings(&id), Notice::SourceSaved));
    };
    let source = of_path(&control, &visit).await?;
    if matches!(error, ControlError::Changed { .. }) {
        let answer = SettingsPage {
            theirs: Some(source.name.to_string()),
            ..settings_page(&control, &visit, &source, Some(typed), &Problems::none()).await?
        };
        return Ok(page(StatusCode::CONFLICT, &answer));
    }
    refused(Problems::of(error)?, async |problems| {
        settings_page(&control, &visit, &source, Some(typed), &problems).await
    })
    .await
}

async fn delete_page(control: &Control, visit: &PageContext, problems: &Problems) -> Result<Confirm, Fault> {
    let source = of_path(control, visit).await?;
    visit.require_on_source(Action::EditSource, &source)?;
    Ok(Confirm {
        frame: visit.frame("Delete source", Section::Sources),
        crumbs: crumbs(visit, &source),
        problem: problems.of_form(&[]),
        will: vec![
            format!("Permanently deletes the source “{}” and its write key.", source.name),
            "Requests with this write key are then treated as coming from an unknown source: denied, unless the gateway is configured to forward them.".to_owned(),
        ],
        links: Vec::new(),
        fields: Vec::new(),
        button: "Delete source",
        destroys: true,
        back: visit.to.source_settings(&source.id),
    })
}

/// `GET sources/{id}/delete`.
pub(crate) async fn delete_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    shown(&delete_page(&control, &visit, &Problems::none()).await?)
}

/// `POST sources/{id}/delete`.
pub(crate) async fn delete(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    answered(
        control
            .sources
            .delete(&visit.actor, &visit.workspace.id, &visit.source()?)
            .await,
        |()| visit.done(&visit.to.sources(), Notice::SourceDeleted),
        async |problems| delete_page(&control, &visit, &problems).await,
    )
    .await
}
