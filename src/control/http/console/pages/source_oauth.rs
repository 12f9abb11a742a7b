//! A source's OAuth app: connecting one, observing what enforcement would do, and turning it on.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use super::app::stop_accepting;
use super::source::{Head, connected_app, crumbs, of_path};
use crate::control::error::ControlError;
use crate::control::http::console::components::{PAGE_ITEMS, Pager, encoded};
use crate::control::http::console::confirm::{Confirm, Crumb};
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section, page};
use crate::control::http::console::observed::Observed;
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::domain::ids::AppId;
use crate::domain::policy::Enforcement;
use crate::domain::role::Action;
use crate::model::page::Page as Span;
use crate::model::source::Source;

#[derive(Template)]
#[template(path = "source_oauth.html")]
struct OAuthPage {
    frame: Frame,
    head: Head,
    mode: Enforcement,
    /// Id and name.
    app: Option<(String, String)>,
    scope: &'static str,
    may_connect: bool,
    may_enforce: bool,
    observed: Observed,
}

impl OAuthPage {
    fn is(&self, mode: &str) -> bool {
        self.mode.as_str() == mode
    }
}

/// `GET sources/{id}/oauth`.
pub(crate) async fn show(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let source = of_path(&control, &visit).await?;
    let app = connected_app(&control, &visit, &source).await?;
    Ok(page(
        StatusCode::OK,
        &OAuthPage {
            frame: visit.frame(format!("OAuth app of {}", source.name), Section::Sources),
            head: Head::new(&source, "oauth"),
            mode: source.enforcement,
            app,
            scope: source.kind.scope(),
            may_connect: visit.may_for(Action::ConnectSource, &source),
            may_enforce: visit.may_for(Action::EnforceSource, &source),
            observed: Observed::of(&control, &visit, &source).await?,
        },
    ))
}

#[derive(Template)]
#[template(path = "connect.html")]
struct ConnectPage<'a> {
    frame: Frame,
    source_id: String,
    source_name: String,
    scope: &'static str,
    problem: String,
    q: &'a str,
    /// What another app in the place of the present one will do.
    replaces: Option<String>,
    apps: Vec<Candidate>,
    pager: Pager,
    may_create: bool,
}

struct Candidate {
    id: String,
    name: String,
    /// Whether it has the scope that the source needs.
    fits: bool,
    connected: bool,
}

async fn connect_page<'a>(
    control: &Control,
    visit: &'a PageContext,
    problems: &Problems,
) -> Result<ConnectPage<'a>, Fault> {
    let source = of_path(control, visit).await?;
    visit.require_on_source(Action::ConnectSource, &source)?;
    let (q, after) = (visit.query("q"), visit.query("after"));
    let span = Span {
        after,
        limit: PAGE_ITEMS + 1,
    };
    let found = control
        .search
        .find_apps(&visit.actor, &visit.workspace.id, q, span)
        .await?;
    let path = format!(
        "{}/sources/{}/oauth/connect?q={}",
        visit.at,
        source.id,
        encoded(q)
    );
    let (found, pager) = Pager::of_search(found, "OAuth apps", &path, after, |item| item.app.id.as_str());
    let scope = source.kind.scope();
    let replaces = match &source.app {
        Some(app) => {
            let live = control
                .search
                .live_tokens(&visit.actor, &visit.workspace.id, app, None)
                .await?;
            let after = match source.enforcement {
                Enforcement::On => "and is denied without a token of the new one",
                Enforcement::Observe => "and counts their requests as ones that would be denied",
                Enforcement::Off => "once enforcement is on",
            };
            let stops = stop_accepting(1, live);
            Some(format!(
                "In place of the present OAuth app: {} {after}.",
                stops.trim_end_matches('.')
            ))
        }
        None => None,
    };
    Ok(ConnectPage {
        frame: visit.frame("Connect OAuth app", Section::Sources),
        source_id: source.id.to_string(),
        source_name: source.name.to_string(),
        scope,
        problem: problems.of_form(&[]),
        q,
        replaces,
        apps: found
            .into_iter()
            .map(|item| Candidate {
                id: item.app.id.to_string(),
                name: item.app.name.to_string(),
                fits: item.app.scopes.iter().any(|held| held.as_str() == scope),
                connected: source.app.as_ref() == Some(&item.app.id),
            })
            .collect(),
        pager,
        may_create: visit.may(Action::CreateApp),
    })
}

/// `GET sources/{id}/oauth/connect`.
pub(crate) async fn connect_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    Ok(page(
        StatusCode::OK,
        &connect_page(&control, &visit, &Problems::none()).await?,
    ))
}

/// `POST sources/{id}/oauth/connect`.
pub(crate) async fn connect(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    let id = visit.source()?;
    let connected = match AppId::parse(fields.text("app_id")) {
        Ok(app) => {
            control
                .sources
                .connect(&visit.actor, &visit.workspace.id, &id, &app)
                .await
        }
        Err(_) => Err(ControlError::invalid("app_id", "choose the OAuth app to connect")),
    };
    match connected {
        Ok(_) => Ok(visit.done(&format!("/sources/{id}/oauth"), "connected")),
        Err(error) => {
            let problems = Problems::of(error)?;
            Ok(page(
                problems.status,
                &connect_page(&control, &visit, &problems).await?,
            ))
        }
    }
}

/// The way down to the OAuth app of a source.
fn crumbs_below(visit: &PageContext, source: &Source) -> Vec<Crumb> {
    let mut crumbs = crumbs(visit, source);
    crumbs.push(Crumb::new(
        format!("{}/sources/{}/oauth", visit.at, source.id),
        "OAuth app",
    ));
    crumbs
}

fn step(visit: &PageContext, source: &Source, title: &'static str, button: &'static str) -> Confirm {
    Confirm {
        frame: visit.frame(title, Section::Sources),
        crumbs: crumbs_below(visit, source),
        problem: String::new(),
        will: Vec::new(),
        links: Vec::new(),
        fields: Vec::new(),
        button,
        destroys: false,
        back: format!("{}/sources/{}/oauth", visit.at, source.id),
    }
}

async fn disconnect_page(
    control: &Control,
    visit: &PageContext,
    problems: &Problems,
) -> Result<Confirm, Fault> {
    let source = of_path(control, visit).await?;
    visit.require_on_source(Action::ConnectSource, &source)?;
    let page = step(visit, &source, "Disconnect OAuth app", "Disconnect");
    let Some(app) = &source.app else {
        return Ok(Confirm {
            will: vec!["No OAuth app is connected to this source.".to_owned()],
            button: "",
            ..page
        });
    };
    let live = control
        .search
        .live_tokens(&visit.actor, &visit.workspace.id, app, None)
        .await?;
    let stops = stop_accepting(1, live);
    let will = match source.enforcement {
        Enforcement::On => vec![
            stops,
            "OAuth is enforced on this source: until another OAuth app is connected, every request to it is denied.".to_owned(),
            "To let requests through without a token instead, turn enforcement off first.".to_owned(),
        ],
        Enforcement::Observe => vec![
            stops,
            "Nothing is denied while enforcement only observes; every request counts as one that would be.".to_owned(),
        ],
        Enforcement::Off => vec!["Enforcement is off: no request is denied, with or without a token.".to_owned()],
    };
    Ok(Confirm {
        problem: problems.of_form(&[]),
        will,
        destroys: true,
        ..page
    })
}

/// `GET sources/{id}/oauth/disconnect`.
pub(crate) async fn disconnect_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    Ok(page(
        StatusCode::OK,
        &disconnect_page(&control, &visit, &Problems::none()).await?,
    ))
}

/// `POST sources/{id}/oauth/disconnect`. The page before it has said what becomes of the requests.
pub(crate) async fn disconnect(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    let id = visit.source()?;
    match control
        .sources
        .disconnect(&visit.actor, &visit.workspace.id, &id, true)
        .await
    {
        Ok(_) => Ok(visit.done(&format!("/sources/{id}/oauth"), "disconnected")),
        Err(error) => {
            let problems = Problems::of(error)?;
            Ok(page(
                problems.status,
                &disconnect_page(&control, &visit, &problems).await?,
            ))
        }
    }
}

/// The mode in the path.
fn mode_of(visit: &PageContext) -> Result<Enforcement, Fault> {
    let mode = Enforcement::parse(visit.in_path("mode"));
    Ok(mode.ok_or(ControlError::NotFound("page"))?)
}

async fn mode_page(control: &Control, visit: &PageContext, problems: &Problems) -> Result<Confirm, Fault> {
    let mode = mode_of(visit)?;
    let source = of_path(control, visit).await?;
    visit.require_on_source(Action::EnforceSource, &source)?;
    let (title, button) = match mode {
        Enforcement::Off => ("Turn enforcement off", "Turn off"),
        Enforcement::Observe => ("Observe", "Start observing"),
        Enforcement::On => ("Enable OAuth", "Enable OAuth"),
    };
    let page = Confirm {
        problem: problems.of_form(&[]),
        ..step(visit, &source, title, button)
    };
    if mode != Enforcement::Off && source.app.is_none() {
        return Ok(Confirm {
            will: vec!["No OAuth app is connected to this source. Connect one first: without it nobody could get a token.".to_owned()],
            button: "",
            ..page
        });
    }
    let will = match mode {
        Enforcement::Off => vec![
            "Requests with the write key of this source need no token any more.".to_owned(),
            "Tokens stay valid, and the OAuth app stays connected: you can turn enforcement on again at any time.".to_owned(),
        ],
        Enforcement::Observe => vec![
            "Every request to this source is judged as if OAuth were enforced, and counted.".to_owned(),
            if source.enforcement == Enforcement::On {
                "None is denied any more, whether it has a valid token or not.".to_owned()
            } else {
                "None is denied: clients notice nothing.".to_owned()
            },
        ],
        Enforcement::On => {
            let mut will = vec!["From now on a request to this source without a valid token of the connected OAuth app is denied.".to_owned()];
            will.extend(Observed::of(control, visit, &source).await?.would_break());
            will
        }
    };
    Ok(Confirm {
        will,
        destroys: mode == Enforcement::Off,
        ..page
    })
}

/// `GET sources/{id}/oauth/{mode}`.
pub(crate) async fn mode_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    Ok(page(
        StatusCode::OK,
        &mode_page(&control, &visit, &Problems::none()).await?,
    ))
}

/// `POST sources/{id}/oauth/{mode}`.
pub(crate) async fn set_mode(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    let mode = mode_of(&visit)?;
    let id = visit.source()?;
    match control
        .sources
        .set_enforcement(&visit.actor, &visit.workspace.id, &id, mode)
        .await
    {
        Ok(_) => Ok(visit.done(&format!("/sources/{id}/oauth"), mode.as_str())),
        Err(error) => {
            let problems = Problems::of(error)?;
            Ok(page(
                problems.status,
                &mode_page(&control, &visit, &problems).await?,
            ))
        }
    }
}
