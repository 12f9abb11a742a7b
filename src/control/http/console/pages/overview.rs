//! The front page of a workspace: how far it is, what its sources are, and what the gateways say.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use super::{leaked, signing_keys};
use crate::control::http::console::chart::Chart;
use crate::control::http::console::components::When;
use crate::control::http::console::fault::Page;
use crate::control::http::console::frame::{Frame, Section, page};
use crate::control::http::console::visit::CurrentVisit;
use crate::control::plane::Control;
use crate::control::sources::search::SourceCounts;
use crate::domain::role::Action;
use crate::domain::time::UnixSeconds;
use crate::model::page::Page as Span;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    roles: Vec<String>,
    owners: Vec<String>,
    may_create: bool,
    steps: Option<Vec<Step>>,
    counts: Option<SourceCounts>,
    chart: Option<Chart>,
    gateway: Option<GatewayRow>,
    tokens: Option<Tokens>,
}

/// What an owner is told of the tokens of the workspace.
struct Tokens {
    keys: Option<signing_keys::Summary>,
    /// How many were found in public; empty for none.
    leaked: String,
}

/// What the bundled gateway said of itself.
struct GatewayRow {
    version: u64,
    /// The newest version there is.
    newest: u64,
    /// None before its first policy.
    confirmed: Option<When>,
    heard: When,
    silent: bool,
}

/// A gateway that has not been heard for this long is not well, in seconds.
const SILENT_AFTER_S: u64 = 60;

/// A step on the way to the first enforced source.
struct Step {
    done: bool,
    title: &'static str,
    text: &'static str,
    path: String,
    action: &'static str,
}

/// `GET` of the workspace.
pub(crate) async fn show(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let workspace = &visit.workspace.id;
    let frame = visit.frame("Overview", Section::Overview);
    let counts = if visit.may(Action::ViewSource) {
        Some(control.search.source_counts(&visit.actor, workspace).await?)
    } else {
        None
    };
    let owners = if frame.sees.apps || frame.sees.sources {
        Vec::new()
    } else {
        control.search.owner_addresses(&visit.actor, workspace).await?
    };
    let steps = match counts {
        Some(counts) if counts.on == 0 && visit.may(Action::CreateApp) => {
            let one = Span { after: "", limit: 1 };
            let apps = control.search.find_apps(&visit.actor, workspace, "", one).await?;
            let apps = apps.items;
            let connected = apps.iter().any(|app| app.sources > 0);
            Some(steps(!apps.is_empty(), connected, counts, &visit.at))
        }
        _ => None,
    };
    let roles = visit
        .member
        .grants
        .iter()
        .map(|grant| grant.role.title().to_owned())
        .collect();
    let (chart, gateway) = if counts.is_some() {
        let traffic = control.traffic.workspace_traffic(&visit.actor, workspace).await?;
        (
            Some(Chart::of_day(&traffic, visit.now)),
            gateway(&control, control.changes.newest_version().await?, visit.now),
        )
    } else {
        (None, None)
    };
    let tokens = if visit.may(Action::EditWorkspace) {
        Some(Tokens {
            keys: signing_keys::Summary::of(&control, &visit).await?,
            leaked: leaked::count(&control, &visit).await?,
        })
    } else {
        None
    };
    Ok(page(
        StatusCode::OK,
        &OverviewPage {
            frame,
            roles,
            owners,
            may_create: visit.may(Action::CreateApp) && visit.may(Action::CreateSource),
            steps,
            counts,
            chart,
            gateway,
            tokens,
        },
    ))
}

fn steps(has_app: bool, connected: bool, counts: SourceCounts, at: &str) -> Vec<Step> {
    let has_source = counts.off + counts.observe + counts.on > 0;
    vec![
        Step {
            done: has_app,
            title: "Create an OAuth app",
            text: "With the public key of the client that will send events.",
            path: format!("{at}/apps/new"),
            action: "Create OAuth app",
        },
        Step {
            done: has_source,
            title: "Add a source",
            text: "The stream of events that the client sends.",
            path: format!("{at}/sources/new"),
            action: "Add source",
        },
        Step {
            done: connected || counts.observe > 0,
            title: "Connect the OAuth app to the source",
            text: "On the source's page, under OAuth app.",
            path: format!("{at}/sources"),
            action: "Choose a source",
        },
        Step {
            done: counts.observe > 0,
            title: "Observe, then enable OAuth",
            text: "See what would be denied before anything is.",
            path: format!("{at}/sources"),
            action: "Choose a source",
        },
    ]
}

fn gateway(control: &Control, newest: u64, now: UnixSeconds) -> Option<GatewayRow> {
    let state = control.traffic.gateway_state()?;
    Some(GatewayRow {
        version: state.policy_version,
        newest,
        confirmed: (state.policy_version > 0).then(|| When::ago(state.confirmed_at, now)),
        heard: When::ago(state.heard_at, now),
        silent: now.since(state.heard_at) > SILENT_AFTER_S,
    })
}
