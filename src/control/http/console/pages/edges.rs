//! The edges: which gateways run, which policy version each has in force, and revoking one.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use crate::control::error::ControlError;
use crate::control::fleet::instance_state::InstanceState;
use crate::control::http::console::answer::{answered, shown};
use crate::control::http::console::components::{Badge, When};
use crate::control::http::console::confirm::{Confirm, Crumb};
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section};
use crate::control::http::console::notice::Notice;
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::domain::ids::EdgeId;
use crate::model::edge::Edge;

#[derive(Template)]
#[template(path = "security/edges.html")]
struct EdgesPage {
    frame: Frame,
    newest: u64,
    rows: Vec<Row>,
    /// Whether edges are enrolled, besides the bundled gateway.
    has_edges: bool,
}

/// A running gateway, or an edge without a running gateway.
struct Row {
    name: String,
    /// The edge's id; none for the bundled gateway.
    id: Option<String>,
    badge: Badge,
    running: Option<Running>,
}

struct Running {
    version: u64,
    heard: When,
    lapses: Option<When>,
    build: String,
    refused: Option<String>,
}

impl Row {
    fn running(
        name: &str,
        id: Option<&EdgeId>,
        state: &InstanceState,
        newest: u64,
        visit: &PageContext,
    ) -> Self {
        let is_bundled = id.is_none();
        let lapses = state.lapses_at.filter(|_| !is_bundled);
        Self {
            name: name.to_owned(),
            id: id.map(ToString::to_string),
            badge: Badge::of_gateway(state.word(newest)),
            running: Some(Running {
                version: state.version,
                heard: When::ago(state.heard_at, visit.now),
                lapses: lapses.map(|at| When::ago(at, visit.now)),
                build: state.build.clone(),
                refused: state.refused.clone(),
            }),
        }
    }

    fn idle(edge: &Edge) -> Self {
        Self {
            name: edge.name.as_str().to_owned(),
            id: Some(edge.id.to_string()),
            badge: Badge::of_gateway("not connected"),
            running: None,
        }
    }
}

/// `GET edges`.
pub(crate) async fn list(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let mut edges = control.edges.list(&visit.actor).await?;
    edges.retain(|edge| edge.revoked_at.is_none());
    let states = control
        .instances
        .states(control.instances.bundled().as_ref())
        .await?;
    let newest = control.changes.newest_version().await?;
    let mut rows: Vec<Row> = states
        .iter()
        .filter(|state| state.edge.is_none())
        .map(|state| Row::running("Bundled gateway", None, state, newest, &visit))
        .collect();
    for edge in &edges {
        let mut own = states
            .iter()
            .filter(|state| state.edge.as_ref() == Some(&edge.id))
            .peekable();
        if own.peek().is_none() {
            rows.push(Row::idle(edge));
        }
        let name = edge.name.as_str();
        rows.extend(own.map(|state| Row::running(name, Some(&edge.id), state, newest, &visit)));
    }
    shown(&EdgesPage {
        frame: visit.frame("Edges", Section::Edges),
        newest,
        has_edges: !edges.is_empty(),
        rows,
    })
}

/// The edge that the path names.
fn one(visit: &PageContext) -> Result<EdgeId, Fault> {
    EdgeId::parse(visit.in_path("id")).map_err(|_| ControlError::NotFound("edge").into())
}

async fn revoke_page(control: &Control, visit: &PageContext, problems: &Problems) -> Result<Confirm, Fault> {
    let id = one(visit)?;
    let edges = control.edges.list(&visit.actor).await?;
    let edge = edges
        .iter()
        .find(|edge| edge.id == id && edge.revoked_at.is_none())
        .ok_or(ControlError::NotFound("edge"))?;
    Ok(Confirm {
        frame: visit.frame("Revoke edge", Section::Edges),
        crumbs: vec![Crumb::new(visit.to.edges(), "Edges")],
        problem: problems.of_form(&[]),
        will: vec![
            format!(
                "Revokes {}. Its connections end now, and it cannot connect again.",
                edge.name.as_str()
            ),
            format!(
                "It denies requests to enforced sources within {} seconds. Move its traffic first.",
                control.instances.max_age().as_secs()
            ),
            "To use the gateway again, enrol it with a new join token.".to_owned(),
        ],
        links: Vec::new(),
        fields: Vec::new(),
        button: "Revoke edge",
        destroys: true,
        back: visit.to.edges(),
    })
}

/// `GET edges/{id}/revoke`.
pub(crate) async fn revoke_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    shown(&revoke_page(&control, &visit, &Problems::none()).await?)
}

/// `POST edges/{id}/revoke`.
pub(crate) async fn revoke(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    let id = one(&visit)?;
    answered(
        control.edges.revoke(&visit.actor, &id).await,
        |_| visit.done(&visit.to.edges(), Notice::EdgeRevoked),
        async |problems| revoke_page(&control, &visit, &problems).await,
    )
    .await
}
