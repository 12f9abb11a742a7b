//! One OAuth app: overview, revoking a token, deleting the app.

use crate::control::http::console::confirm::SourceRow;
use crate::control::http::console::confirm::{Confirm, Crumb};
use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::apps::lifetime_words;
use super::audit::Event;
use crate::control::apps::details::AppDetails;
use crate::control::conflict::Conflict;
use crate::control::error::ControlError;
use crate::control::http::console::answer::{answered, refused, shown};
use crate::control::http::console::components::{Copy, Field, When, counted};
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section};
use crate::control::http::console::notice::Notice;
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
    pub expires: Option<When>,
    /// A badge where the key expires soon, or has expired.
    pub warning: Option<&'static str>,
}

impl KeyRow {
    pub fn of(key: AppKey, visit: &PageContext) -> Self {
        let warning = match (key.is_expired(visit.now), key.expires_soon(visit.now)) {
            (true, _) => Some("Expired"),
            (false, true) => Some("Expires soon"),
            (false, false) => None,
        };
        Self {
            warning,
            expires: key.expires_at.map(|at| When::ago(at, visit.now)),
            key_id: key.id.to_string(),
            id: Copy::new("Key ID", &key.id),
            name: key.name.to_string(),
            algorithm: key.algorithm.as_str(),
            thumbprint: key.thumbprint,
            pem: key.pem,
            last_used: key.last_used_at.map(|at| When::ago(at, visit.now)),
        }
    }
}

#[derive(Template)]
#[template(path = "apps/overview.html")]
struct AppPage {
    frame: Frame,
    tab: &'static str,
    app_id: String,
    app_name: String,
    id: Copy,
    scopes: Vec<String>,
    lifetime: &'static str,
    live: u64,
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

/// How many tokens of the app are active: issued, neither expired nor revoked.
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
    let listed = u64::try_from(connected.shown.len()).unwrap_or(u64::MAX);
    shown(&AppPage {
        frame: visit.frame(found.app.name.as_str(), Section::Apps),
        tab: "overview",
        app_id: id.to_string(),
        app_name: found.app.name.to_string(),
        id: Copy::new("Application ID", &id),
        scopes: found.app.scopes.iter().map(ToString::to_string).collect(),
        lifetime: lifetime_words(found.app.token_lifetime),
        live,
        keys: found
            .keys
            .into_iter()
            .map(|key| KeyRow::of(key, &visit))
            .collect(),
        more_sources: listed > 0 && connected.total > listed,
        hidden_sources: listed == 0 && connected.total > 0,
        sources_total: connected.total,
        sources: connected.shown.iter().map(SourceRow::from).collect(),
        first_source,
        activity,
        may_edit: visit.may(Action::EditApp),
    })
}

/// `2 active tokens`, or `no active tokens`.
pub(crate) fn active_tokens(live: u64) -> String {
    match live {
        0 => "no active tokens".to_owned(),
        live => counted(live, "active token"),
    }
}

/// The breadcrumb down to an app.
pub(crate) fn crumbs(visit: &PageContext, found: &AppDetails) -> Vec<Crumb> {
    vec![
        Crumb::new(visit.to.apps(), "OAuth applications"),
        Crumb::new(visit.to.app(&found.app.id), &found.app.name),
    ]
}

async fn revoke_page(control: &Control, visit: &PageContext, problems: &Problems) -> Result<Confirm, Fault> {
    visit.require(Action::EditApp)?;
    let id = visit.app()?;
    let found = control.apps.get(&visit.actor, &visit.workspace.id, &id).await?;
    let live = live_tokens(control, visit, &id).await?;
    Ok(Confirm {
        frame: visit.frame("Revoke token", Section::Apps),
        crumbs: crumbs(visit, &found),
        problem: problems.of_form(&["token"]),
        will: vec![
            if live == 0 {
                "This app has no active tokens.".to_owned()
            } else {
                format!(
                    "The token stops working immediately. This app has {}.",
                    active_tokens(live)
                )
            },
            "The client can get a new token unless you also delete its key.".to_owned(),
        ],
        links: Vec::new(),
        // The pasted token is a credential: it is not sent back.
        fields: vec![
            Field::area("token", "Access token")
                .short()
                .hint("Paste the complete token.")
                .problem(problems.of_field("token")),
        ],
        button: "Revoke token",
        destroys: true,
        back: visit.to.app(&id),
    })
}

/// `GET apps/{id}/revoke`.
pub(crate) async fn revoke_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    shown(&revoke_page(&control, &visit, &Problems::none()).await?)
}

/// `POST apps/{id}/revoke`.
pub(crate) async fn revoke(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    let id = visit.app()?;
    let token = fields.text("token");
    let revoked = control
        .revocation
        .revoke_token(&visit.actor, &visit.workspace.id, &id, token)
        .await;
    answered(
        revoked,
        |revoked| {
            let notice = match revoked {
                Revoked::Now { .. } => Notice::TokenRevoked,
                Revoked::Expired { .. } => Notice::TokenExpired,
            };
            visit.done(&visit.to.app(&id), notice)
        },
        async |problems| revoke_page(&control, &visit, &problems).await,
    )
    .await
}

/// What deleting an app takes with it.
fn permanently_deletes(keys: usize, live: u64) -> String {
    let keys = match keys {
        0 => String::new(),
        1 => " and its public key".to_owned(),
        keys => format!(" and its {keys} public keys"),
    };
    let tokens = match live {
        0 => "No active tokens.".to_owned(),
        1 => "Ends 1 active token.".to_owned(),
        live => format!("Ends {live} active tokens."),
    };
    format!("Permanently deletes the app{keys}. {tokens}")
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
    let back = visit.to.app(&id);
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
            " The first ones:"
        } else {
            ""
        };
        return Ok(Confirm {
            will: vec![
                format!(
                    "This OAuth app cannot be deleted while {} {are} connected to it.",
                    counted(connected.total, "source")
                ),
                format!("Disconnect them first, or connect another OAuth app to them.{first}"),
            ],
            links: connected.shown.iter().map(SourceRow::from).collect(),
            ..page
        });
    }
    Ok(Confirm {
        will: vec![
            permanently_deletes(found.keys.len(), live),
            "No sources are affected.".to_owned(),
            "Clients that sign with its key will stop getting tokens.".to_owned(),
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
    shown(&delete_page(&control, &visit, "", &Problems::none()).await?)
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
        Ok(()) => Ok(visit.done(&visit.to.apps(), Notice::AppDeleted)),
        Err(error) => {
            let connected = matches!(error, ControlError::Conflict(Conflict::AppConnected(_)));
            let mut problems = Problems::of(error)?;
            if connected {
                // The page lists the sources, with links.
                problems = problems.without_words();
            }
            refused(problems, async |problems| {
                delete_page(&control, &visit, typed, &problems).await
            })
            .await
        }
    }
}
