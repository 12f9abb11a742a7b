//! The overview of a workspace: getting started, traffic, sources, gateway and security.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::{leaked, signing_keys};
use crate::control::http::console::answer::shown;
use crate::control::http::console::chart::Chart;
use crate::control::http::console::components::When;
use crate::control::http::console::confirm::SourceRow;
use crate::control::http::console::fault::{Fault, Page};
use crate::control::http::console::frame::{Frame, Section};
use crate::control::http::console::paths::WorkspacePaths;
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::control::sources::search::SourceCounts;
use crate::domain::role::Action;
use crate::domain::time::UnixSeconds;
use crate::model::page::Page as Span;
use crate::model::search::SourceFilter;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    roles: Vec<String>,
    owners: Vec<String>,
    may_create: bool,
    steps: Option<Vec<Step>>,
    /// The first sources of a member who may not view all of them.
    sources: Vec<SourceRow>,
    counts: Option<SourceCounts>,
    chart: Option<Chart>,
    gateway: Option<GatewayRow>,
    tokens: Option<Tokens>,
}

/// Signing keys and leaked tokens, for owners.
struct Tokens {
    keys: Option<signing_keys::Summary>,
    /// How many tokens were found in public; empty for none.
    leaked: String,
}

/// The last report of the bundled gateway.
struct GatewayRow {
    version: u64,
    /// The newest version of the control plane.
    newest: u64,
    /// None before its first policy.
    confirmed: Option<When>,
    heard: When,
    silent: bool,
}

/// Sources shown to a member who may not view all of them; the list has them all.
const SOURCES_SHOWN: u32 = 20;

/// A gateway without a report for this long is shown as not reporting, in seconds.
const SILENT_AFTER_S: u64 = 60;

/// A step to the first enforced source.
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
    let sources = if counts.is_none() && frame.sees.sources {
        sources_of_member(&control, &visit).await?
    } else {
        Vec::new()
    };
    let steps = match counts {
        Some(counts) if counts.on == 0 && visit.may(Action::CreateApp) => {
            let one = Span { after: "", limit: 1 };
            let apps = control.search.find_apps(&visit.actor, workspace, "", one).await?;
            let apps = apps.items;
            let connected = apps.iter().any(|app| app.sources > 0);
            Some(steps(!apps.is_empty(), connected, counts, &visit.to))
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
    shown(&OverviewPage {
        frame,
        roles,
        owners,
        may_create: visit.may(Action::CreateApp) && visit.may(Action::CreateSource),
        steps,
        sources,
        counts,
        chart,
        gateway,
        tokens,
    })
}

/// The first sources that a member may view.
async fn sources_of_member(control: &Control, visit: &PageContext) -> Result<Vec<SourceRow>, Fault> {
    let first = Span {
        after: "",
        limit: SOURCES_SHOWN,
    };
    let filter = SourceFilter::default();
    let found = control
        .search
        .find_sources(&visit.actor, &visit.workspace.id, &filter, first)
        .await?;
    Ok(found.items.iter().map(SourceRow::from).collect())
}

fn steps(has_app: bool, connected: bool, counts: SourceCounts, to: &WorkspacePaths) -> Vec<Step> {
    let has_source = counts.off + counts.observe + counts.on > 0;
    vec![
        Step {
            done: has_app,
            title: "Create an OAuth app",
            text: "With the public key of the client that sends events.",
            path: to.new_app(),
            action: "Create OAuth app",
        },
        Step {
            done: has_source,
            title: "Add a source",
            text: "It stands for what the client sends.",
            path: to.new_source(),
            action: "Add source",
        },
        Step {
            done: connected || counts.observe > 0,
            title: "Connect the OAuth app to the source",
            text: "On the page of the source, under OAuth app.",
            path: to.sources(),
            action: "Choose a source",
        },
        Step {
            done: counts.observe > 0,
            title: "Observe, then enable OAuth",
            text: "See what would be denied before you enforce.",
            path: to.sources(),
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
