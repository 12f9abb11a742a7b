//! A source's OAuth app and enforcement: connecting an app, observing, enforcing.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::app::active_tokens;
use super::source::{Head, connected_app, crumbs, of_path};
use crate::control::error::ControlError;
use crate::control::http::console::answer::{answered, shown};
use crate::control::http::console::components::{Listing, Pager};
use crate::control::http::console::confirm::{Confirm, Crumb};
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section};
use crate::control::http::console::notice::Notice;
use crate::control::http::console::observed::Observed;
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::domain::ids::AppId;
use crate::domain::policy::Enforcement;
use crate::domain::role::Action;
use crate::model::source::Source;

#[derive(Template)]
#[template(path = "sources/oauth.html")]
struct OAuthPage {
    frame: Frame,
    head: Head,
    mode: Enforcement,
    /// ID and name.
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
    shown(&OAuthPage {
        frame: visit.frame(format!("OAuth app of {}", source.name), Section::Sources),
        head: Head::of(&control, &source, "oauth").await?,
        mode: source.enforcement,
        app,
        scope: source.kind.scope(),
        may_connect: visit.may_for(Action::ConnectSource, &source),
        may_enforce: visit.may_for(Action::EnforceSource, &source),
        observed: Observed::of(&control, &visit, &source).await?,
    })
}

#[derive(Template)]
#[template(path = "sources/connect.html")]
struct ConnectPage<'a> {
    frame: Frame,
    source_id: String,
    source_name: String,
    scope: &'static str,
    problem: String,
    q: &'a str,
    /// What changing the connected app does.
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
    let listing = Listing {
        path: visit.to.connect_app(&source.id),
        query: &[("q", q)],
        after,
    };
    let found = control
        .search
        .find_apps(&visit.actor, &visit.workspace.id, q, listing.span())
        .await?;
    let (found, pager) = Pager::of_search(found, "OAuth apps", &listing, |item| item.app.id.as_str());
    let scope = source.kind.scope();
    let replaces = match &source.app {
        Some(app) => {
            let live = control
                .search
                .live_tokens(&visit.actor, &visit.workspace.id, app, None)
                .await?;
            let then = match source.enforcement {
                Enforcement::On => "Requests need a token from the new app.",
                Enforcement::Observe => {
                    "Requests without a token from the new app count as “would be denied”."
                }
                Enforcement::Off => "Enforcement is off, so nothing is denied.",
            };
            Some(format!(
                "If you change the app, this source stops accepting the current app's tokens ({}). {then}",
                active_tokens(live)
            ))
        }
        None => None,
    };
    Ok(ConnectPage {
        frame: visit.frame(
            if source.app.is_some() {
                "Change OAuth app"
            } else {
                "Connect OAuth app"
            },
            Section::Sources,
        ),
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
    shown(&connect_page(&control, &visit, &Problems::none()).await?)
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
    answered(
        connected,
        |source| {
            // A source that is observed or enforced already has no next step.
            let notice = if source.enforcement == Enforcement::Off {
                Notice::AppConnected
            } else {
                Notice::AppReplaced
            };
            visit.done(&visit.to.source_oauth(&id), notice)
        },
        async |problems| connect_page(&control, &visit, &problems).await,
    )
    .await
}

/// The breadcrumb down to the OAuth app of a source.
fn crumbs_below(visit: &PageContext, source: &Source) -> Vec<Crumb> {
    let mut crumbs = crumbs(visit, source);
    crumbs.push(Crumb::new(visit.to.source_oauth(&source.id), "OAuth app"));
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
        back: visit.to.source_oauth(&source.id),
    }
}

async fn disconnect_page(
    control: &Control,
    visit: &PageContext,
    problems: &Problems,
) -> Result<Confirm, Fault> {
    let source = of_path(control, visit).await?;
    visit.require_on_source(Action::ConnectSource, &source)?;
    let page = step(visit, &source, "Disconnect OAuth app", "Disconnect OAuth app");
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
    let stops = format!(
        "This source stops accepting the app's tokens ({}).",
        active_tokens(live)
    );
    let will = match source.enforcement {
        Enforcement::On => vec![
            stops,
            "Enforcement is on: every request is denied until you connect another OAuth app.".to_owned(),
            "To allow requests without a token instead, turn enforcement off first.".to_owned(),
        ],
        Enforcement::Observe => vec![
            stops,
            "Nothing is denied. Every request counts as “would be denied” until you connect another OAuth app.".to_owned(),
        ],
        Enforcement::Off => vec!["Enforcement is off: nothing is denied, with or without a token.".to_owned()],
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
    shown(&disconnect_page(&control, &visit, &Problems::none()).await?)
}

/// `POST sources/{id}/oauth/disconnect`. The page before it says what happens to requests.
pub(crate) async fn disconnect(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    let id = visit.source()?;
    answered(
        control
            .sources
            .disconnect(&visit.actor, &visit.workspace.id, &id, true)
            .await,
        |_| visit.done(&visit.to.source_oauth(&id), Notice::AppDisconnected),
        async |problems| disconnect_page(&control, &visit, &problems).await,
    )
    .await
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
    let title = match (mode, source.enforcement) {
        (Enforcement::Off, Enforcement::Observe) => "Stop observing",
        (Enforcement::Off, _) => "Turn off enforcement",
        (Enforcement::Observe, Enforcement::On) => "Switch to Observe",
        (Enforcement::Observe, _) => "Start observing",
        (Enforcement::On, _) => "Enable OAuth",
    };
    let page = Confirm {
        problem: problems.of_form(&[]),
        ..step(visit, &source, title, title)
    };
    if mode != Enforcement::Off && source.app.is_none() {
        return Ok(Confirm {
            will: vec!["No OAuth app is connected to this source. Connect one first: without it no client can get a token.".to_owned()],
            button: "",
            ..page
        });
    }
    let will = match mode {
        Enforcement::Off => vec![
            "Requests to this source no longer need a token.".to_owned(),
            "The OAuth app stays connected and its tokens stay valid, so you can turn enforcement on again at any time.".to_owned(),
        ],
        Enforcement::Observe => vec![
            "Every request to this source is checked as if OAuth were enabled, and counted.".to_owned(),
            if source.enforcement == Enforcement::On {
                "Requests without a valid token are no longer denied.".to_owned()
            } else {
                "Nothing is denied. Clients are not affected.".to_owned()
            },
        ],
        Enforcement::On => {
            let mut will = vec!["Requests without a valid token of the connected OAuth app are denied.".to_owned()];
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
    shown(&mode_page(&control, &visit, &Problems::none()).await?)
}

/// `POST sources/{id}/oauth/{mode}`.
pub(crate) async fn set_mode(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    let mode = mode_of(&visit)?;
    let id = visit.source()?;
    answered(
        control
            .sources
            .set_enforcement(&visit.actor, &visit.workspace.id, &id, mode)
            .await,
        |_| {
            let notice = match mode {
                Enforcement::Off => Notice::EnforcementOff,
                Enforcement::Observe => Notice::Observing,
                Enforcement::On => Notice::Enforced,
            };
            visit.done(&visit.to.source_oauth(&id), notice)
        },
        async |problems| mode_page(&control, &visit, &problems).await,
    )
    .await
}

/// `POST sources/{id}/oauth/restart`: counts requests from now.
pub(crate) async fn restart_observation(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    let id = visit.source()?;
    control
        .sources
        .restart_observation(&visit.actor, &visit.workspace.id, &id)
        .await?;
    Ok(visit.done(&visit.to.source_oauth(&id), Notice::ObservationRestarted))
}
