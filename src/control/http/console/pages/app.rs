//! One OAuth app: its overview, its settings, and the steps that end access.

use crate::control::http::console::confirm::SourceRow;
use crate::control::http::console::confirm::{Confirm, Crumb};
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use super::apps::{lifetime_choices, lifetime_words, scope_choices};
use super::audit::Event;
use crate::control::apps::app::AppChange;
use crate::control::apps::details::AppDetails;
use crate::control::conflict::Conflict;
use crate::control::error::ControlError;
use crate::control::http::console::components::{Choices, Copy, Field, When, counted};
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::fields::Fields;
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section, page};
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::control::tokens::revoke::Revoked;
use crate::domain::ids::AppId;
use crate::domain::role::Action;
use crate::model::app::AppKey;
use crate::model::audit::AuditFilter;
use crate::model::page::Page as Span;
use crate::model::search::SourceFilter;

/// Connected sources shown with an app; the list of sources has them all.
const SOURCES_SHOWN: u32 = 20;

/// Events shown with an app.
const EVENTS_SHOWN: u32 = 8;

/// A public key on a page.
pub(crate) struct KeyRow {
    pub key_id: String,
    pub id: Copy,
    pub name: String,
    pub algorithm: &'static str,
    pub thumbprint: String,
    pub pem: String,
    pub last_used: Option<When>,
}

impl KeyRow {
    fn of(key: AppKey, visit: &PageContext) -> Self {
        Self {
            key_id: key.id.to_string(),
            id: Copy::new("Key id", &key.id),
            name: key.name.to_string(),
            algorithm: key.algorithm.as_str(),
            thumbprint: key.thumbprint,
            pem: key.pem,
            last_used: key.last_used_at.map(|at| When::ago(at, visit.now)),
        }
    }
}

#[derive(Template)]
#[template(path = "app.html")]
struct AppPage {
    frame: Frame,
    tab: &'static str,
    app_id: String,
    app_name: String,
    id: Copy,
    scopes: Vec<String>,
    lifetime: &'static str,
    live: String,
    keys: Vec<KeyRow>,
    sources: Vec<SourceRow>,
    sources_total: u64,
    more_sources: bool,
    hidden_sources: bool,
    /// Whether there is no source yet to connect it to.
    first_source: bool,
    activity: Option<Vec<Event>>,
    may_edit: bool,
}

/// How many tokens an app's clients may still hold.
pub(crate) async fn live_tokens(control: &Control, visit: &PageContext, id: &AppId) -> Result<u64, Fault> {
    Ok(control
        .search
        .live_tokens(&visit.actor, &visit.workspace.id, id, None)
        .await?)
}

/// `GET apps/{id}`.
pub(crate) async fn overview(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let id = visit.app()?;
    let workspace = &visit.workspace.id;
    let found = control.apps.get(&visit.actor, workspace, &id).await?;
    let connected = control
        .search
        .connected(&visit.actor, workspace, &id, SOURCES_SHOWN)
        .await?;
    let activity = if visit.may(Action::ViewAudit) {
        let filter = AuditFilter {
            resource_id: Some(id.to_string()),
            ..AuditFilter::default()
        };
        let span = Span {
            after: "",
            limit: EVENTS_SHOWN,
        };
        let events = control
            .audit
            .audit_events(&visit.actor, workspace, &filter, span)
            .await?;
        Some(events.iter().map(|event| Event::of(event, &visit)).collect())
    } else {
        None
    };
    let live = live_tokens(&control, &visit, &id).await?;
    let first_source = connected.total == 0 && visit.may(Action::CreateSource) && {
        let one = Span { after: "", limit: 1 };
        let any = control
            .search
            .find_sources(&visit.actor, workspace, &SourceFilter::default(), one)
            .await?;
        any.items.is_empty()
    };
    let shown = u64::try_from(connected.shown.len()).unwrap_or(u64::MAX);
    Ok(page(
        StatusCode::OK,
        &AppPage {
            frame: visit.frame(found.app.name.as_str(), Section::Apps),
            tab: "overview",
            app_id: id.to_string(),
            app_name: found.app.name.to_string(),
            id: Copy::new("Application id", &id),
            scopes: found.app.scopes.iter().map(ToString::to_string).collect(),
            lifetime: lifetime_words(found.app.token_lifetime),
            live: tokens_words(live),
            keys: found
                .keys
                .into_iter()
                .map(|key| KeyRow::of(key, &visit))
                .collect(),
            more_sources: shown > 0 && connected.total > shown,
            hidden_sources: shown == 0 && connected.total > 0,
            sources_total: connected.total,
            sources: connected.shown.iter().map(SourceRow::from).collect(),
            first_source,
            activity,
            may_edit: visit.may(Action::EditApp),
        },
    ))
}

/// What is known of the tokens that clients hold.
fn tokens_words(live: u64) -> String {
    match live {
        0 => "none issued that could still be accepted".to_owned(),
        live => format!(
            "{}, issued and neither expired nor revoked",
            counted(live, "live token")
        ),
    }
}

/// `3 sources stop accepting 2 live tokens.`
pub(crate) fn stop_accepting(sources: u64, live: u64) -> String {
    let verb = if sources == 1 { "stops" } else { "stop" };
    format!(
        "{} {verb} accepting {}.",
        counted(sources, "source"),
        counted(live, "live token")
    )
}

#[derive(Template)]
#[template(path = "app_settings.html")]
struct SettingsPage {
    frame: Frame,
    tab: &'static str,
    app_id: String,
    app_name: String,
    problem: String,
    theirs: Option<ConcurrentEdit>,
    may_edit: bool,
    revision: u64,
    name: Field,
    lifetime: Choices,
    lifetime_words: &'static str,
    scopes: Choices,
    scope_words: String,
    keys: Vec<KeyRow>,
}

/// What somebody else saved in the meantime.
struct ConcurrentEdit {
    name: String,
    lifetime: &'static str,
    scopes: String,
}

fn settings_page(
    visit: &PageContext,
    found: AppDetails,
    typed: Option<&Fields>,
    problems: &Problems,
) -> SettingsPage {
    let app = found.app;
    let held: Vec<String> = app.scopes.iter().map(ToString::to_string).collect();
    let chosen = typed.map_or_else(|| held.clone(), |typed| typed.ticked_of("scope."));
    let name = typed.map_or(app.name.as_str(), |typed| typed.text("name"));
    let lifetime = typed.map_or(app.token_lifetime.as_str(), |typed| typed.text("token_lifetime"));
    SettingsPage {
        frame: visit.frame(format!("Settings of {}", app.name), Section::Apps),
        tab: "settings",
        app_id: app.id.to_string(),
        app_name: app.name.to_string(),
        problem: problems.of_form(&["name", "scopes", "token_lifetime"]),
        theirs: None,
        may_edit: visit.may(Action::EditApp),
        revision: app.revision,
        name: Field::text("name", "Application name")
            .value(name)
            .problem(problems.of_field("name")),
        lifetime: lifetime_choices(lifetime, problems)
            .hint("For tokens issued from now on. Those issued already keep theirs."),
        lifetime_words: lifetime_words(app.token_lifetime),
        scopes: scope_choices(&chosen, problems)
            .hint("A scope taken away is gone from the tokens issued already, at once."),
        scope_words: held.join(", "),
        keys: found.keys.into_iter().map(|key| KeyRow::of(key, visit)).collect(),
    }
}

/// `GET apps/{id}/settings`.
pub(crate) async fn settings(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let found = control
        .apps
        .get(&visit.actor, &visit.workspace.id, &visit.app()?)
        .await?;
    Ok(page(
        StatusCode::OK,
        &settings_page(&visit, found, None, &Problems::none()),
    ))
}

/// `POST apps/{id}/settings`.
pub(crate) async fn save(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    let id = visit.app()?;
    let workspace = &visit.workspace.id;
    let change = AppChange {
        name: Some(fields.text("name").to_owned()),
        scopes: Some(fields.ticked_of("scope.")),
        token_lifetime: Some(fields.text("token_lifetime").to_owned()),
    };
    let actor = visit.actor_who_saw(&fields);
    let Err(error) = control.apps.update(&actor, workspace, &id, change).await else {
        return Ok(visit.done(&format!("/apps/{id}/settings"), "app-saved"));
    };
    let found = control.apps.get(&visit.actor, workspace, &id).await?;
    if matches!(error, ControlError::Changed { .. }) {
        let theirs = ConcurrentEdit {
            name: found.app.name.to_string(),
            lifetime: lifetime_words(found.app.token_lifetime),
            scopes: found.app.scopes.to_string(),
        };
        let answer = SettingsPage {
            theirs: Some(theirs),
            ..settings_page(&visit, found, Some(&fields), &Problems::none())
        };
        return Ok(page(StatusCode::CONFLICT, &answer));
    }
    let problems = Problems::of(error)?;
    Ok(page(
        problems.status,
        &settings_page(&visit, found, Some(&fields), &problems),
    ))
}

/// The way down to an app.
pub(crate) fn crumbs(visit: &PageContext, found: &AppDetails) -> Vec<Crumb> {
    vec![
        Crumb::new(format!("{}/apps", visit.at), "OAuth applications"),
        Crumb::new(format!("{}/apps/{}", visit.at, found.app.id), &found.app.name),
    ]
}

async fn revoke_page(control: &Control, visit: &PageContext, problems: &Problems) -> Result<Confirm, Fault> {
    visit.require(Action::EditApp)?;
    let id = visit.app()?;
    let found = control.apps.get(&visit.actor, &visit.workspace.id, &id).await?;
    let live = live_tokens(control, visit, &id).await?;
    Ok(Confirm {
        frame: visit.frame("Revoke a token", Section::Apps),
        crumbs: crumbs(visit, &found),
        problem: problems.of_form(&["token"]),
        will: vec![
            format!(
                "One token of {} ends: gateways refuse it as soon as this page is answered.",
                tokens(live)
            ),
            "The client that holds it fetches a new one by itself, unless its key is deleted too.".to_owned(),
        ],
        links: Vec::new(),
        // What was pasted is a credential: it is not sent back.
        fields: vec![
            Field::area("token", "Access token")
                .short()
                .hint("Paste the complete token, from the first letter to the last.")
                .problem(problems.of_field("token")),
        ],
        button: "Revoke token",
        destroys: true,
        back: format!("{}/apps/{id}", visit.at),
    })
}

fn tokens(live: u64) -> String {
    counted(live, "live token")
}

/// `GET apps/{id}/revoke`.
pub(crate) async fn revoke_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    Ok(page(
        StatusCode::OK,
        &revoke_page(&control, &visit, &Problems::none()).await?,
    ))
}

/// `POST apps/{id}/revoke`.
pub(crate) async fn revoke(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    let id = visit.app()?;
    let token = fields.text("token");
    match control
        .revocation
        .revoke_token(&visit.actor, &visit.workspace.id, &id, token)
        .await
    {
        Ok(Revoked::Now { .. }) => Ok(visit.done(&format!("/apps/{id}"), "token-revoked")),
        Ok(Revoked::Expired { .. }) => Ok(visit.done(&format!("/apps/{id}"), "token-expired")),
        Err(error) => {
            let problems = Problems::of(error)?;
            Ok(page(
                problems.status,
                &revoke_page(&control, &visit, &problems).await?,
            ))
        }
    }
}

async fn delete_page(
    control: &Control,
    visit: &PageContext,
    typed: &str,
    problems: &Problems,
) -> Result<Confirm, Fault> {
    visit.require(Action::EditApp)?;
    let id = visit.app()?;
    let found = control.apps.get(&visit.actor, &visit.workspace.id, &id).await?;
    let connected = control
        .search
        .connected(&visit.actor, &visit.workspace.id, &id, SOURCES_SHOWN)
        .await?;
    let live = live_tokens(control, visit, &id).await?;
    let back = format!("{}/apps/{id}", visit.at);
    let page = Confirm {
        frame: visit.frame("Delete OAuth app", Section::Apps),
        crumbs: crumbs(visit, &found),
        problem: problems.of_form(&["confirm_name"]),
        will: Vec::new(),
        links: Vec::new(),
        fields: Vec::new(),
        button: "",
        destroys: true,
        back,
    };
    if connected.total > 0 {
        let are = if connected.total == 1 { "is" } else { "are" };
        let first = if connected.total > u64::from(SOURCES_SHOWN) {
            " The first of them:"
        } else {
            ""
        };
        return Ok(Confirm {
            will: vec![
                format!(
                    "This OAuth app cannot be deleted while {} {are} connected to it.",
                    counted(connected.total, "source")
                ),
                format!("Disconnect each of them first, or connect another OAuth app in its place.{first}"),
            ],
            links: connected.shown.iter().map(SourceRow::from).collect(),
            ..page
        });
    }
    Ok(Confirm {
        will: vec![
            format!(
                "{} and {} end, for good.",
                counted(found.keys.len() as u64, "public key"),
                counted(live, "live token")
            ),
            "No source is connected, so no source stops accepting anything.".to_owned(),
            "A client that still has the private key gets no further token.".to_owned(),
        ],
        fields: vec![
            Field::text("confirm_name", "Type the name of the OAuth app to delete it")
                .value(typed)
                .problem(problems.of_field("confirm_name")),
        ],
        button: "Delete OAuth app",
        ..page
    })
}

/// `GET apps/{id}/delete`.
pub(crate) async fn delete_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    Ok(page(
        StatusCode::OK,
        &delete_page(&control, &visit, "", &Problems::none()).await?,
    ))
}

/// `POST apps/{id}/delete`.
pub(crate) async fn delete(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    let typed = fields.text("confirm_name");
    let id = visit.app()?;
    match control
        .apps
        .delete(&visit.actor, &visit.workspace.id, &id, typed)
        .await
    {
        Ok(()) => Ok(visit.done("/apps", "app-deleted")),
        Err(error) => {
            let connected = matches!(error, ControlError::Conflict(Conflict::AppConnected(_)));
            let mut problems = Problems::of(error)?;
            if connected {
                // The page itself lists them, with links.
                problems = problems.unsaid();
            }
            Ok(page(
                problems.status,
                &delete_page(&control, &visit, typed, &problems).await?,
            ))
        }
    }
}
