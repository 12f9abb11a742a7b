//! Sources: the list with its filters, and creating one.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use crate::control::http::console::answer::{answered, shown};
use crate::control::http::console::components::{Badge, Choice, Choices, Field, Listing, Pager};
use crate::control::http::console::fault::{Page, Problems};
use crate::control::http::console::fields::Fields;
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section};
use crate::control::http::console::notice::Notice;
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::control::sources::source::NewSource;
use crate::domain::ids::AppId;
use crate::domain::policy::Enforcement;
use crate::domain::role::Action;
use crate::domain::source_kind::SourceKind;
use crate::model::search::{SourceFilter, SourceSummary};

/// The name of a source's kind.
pub(crate) const fn kind_words(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::HttpApi => "HTTP Tracking API",
        SourceKind::NodeJs => "Node.js",
        SourceKind::Python => "Python",
        SourceKind::SourceFunction => "Source function",
        SourceKind::PublicApi => "Public API",
    }
}

/// A choice of a filter.
pub(crate) struct Pick {
    pub value: &'static str,
    pub label: &'static str,
    pub chosen: bool,
}

fn picks<const N: usize>(choices: [(&'static str, &'static str); N], chosen: &str) -> Vec<Pick> {
    let pick = |(value, label)| Pick {
        value,
        label,
        chosen: value == chosen,
    };
    choices.map(pick).into()
}

#[derive(Template)]
#[template(path = "sources/list.html")]
struct SourcesPage<'a> {
    frame: Frame,
    may_create: bool,
    q: &'a str,
    app: &'a str,
    app_name: Option<String>,
    filtered: bool,
    kinds: Vec<Pick>,
    modes: Vec<Pick>,
    sources: Vec<Row>,
    pager: Pager,
}

struct Row {
    id: String,
    name: String,
    kind: &'static str,
    badge: Badge,
    app: Option<(String, String)>,
}

impl From<SourceSummary> for Row {
    fn from(item: SourceSummary) -> Self {
        Self {
            id: item.source.id.to_string(),
            name: item.source.name.to_string(),
            kind: kind_words(item.source.kind),
            badge: Badge::of_source(item.source.enforcement, item.blocker),
            app: item
                .source
                .app
                .map(|id| (id.to_string(), item.app_name.unwrap_or_default())),
        }
    }
}

/// `GET sources`.
pub(crate) async fn list(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let workspace = &visit.workspace.id;
    let (q, after, app) = (visit.query("q"), visit.query("after"), visit.query("app"));
    let kind = SourceKind::parse(visit.query("kind"));
    let mode = Enforcement::parse(visit.query("mode"));
    let filter = SourceFilter {
        text: q,
        kind,
        enforcement: mode,
        app: AppId::parse(app).ok(),
        ..SourceFilter::default()
    };
    let (kind_word, mode_word) = (
        kind.map_or("", SourceKind::as_str),
        mode.map_or("", Enforcement::as_str),
    );
    let listing = Listing {
        path: visit.to.sources(),
        query: &[("q", q), ("kind", kind_word), ("mode", mode_word), ("app", app)],
        after,
    };
    let found = control
        .search
        .find_sources(&visit.actor, workspace, &filter, listing.span())
        .await?;
    let (found, pager) = Pager::of_search(found, "sources", &listing, |item| item.source.id.as_str());
    let app_name = match &filter.app {
        Some(id) => control
            .search
            .app_without_keys(&visit.actor, workspace, id)
            .await
            .ok()
            .map(|found| found.name.to_string()),
        None => None,
    };
    shown(&SourcesPage {
        frame: visit.frame("Sources", Section::Sources),
        may_create: visit.may(Action::CreateSource),
        q,
        app,
        app_name,
        filtered: !(q.is_empty() && kind_word.is_empty() && mode_word.is_empty() && app.is_empty()),
        kinds: picks(
            SourceKind::ALL.map(|each| (each.as_str(), kind_words(each))),
            kind_word,
        ),
        modes: picks(
            [("on", "Enforced"), ("observe", "Observing"), ("off", "Off")],
            mode_word,
        ),
        sources: found.into_iter().map(Row::from).collect(),
        pager,
    })
}

#[derive(Template)]
#[template(path = "sources/new.html")]
struct NewSourcePage {
    frame: Frame,
    problem: String,
    name: Field,
    kind: Choices,
    write_key: Field,
}

fn new_source_page(visit: &PageContext, fields: Option<&Fields>, problems: &Problems) -> NewSourcePage {
    let text = |name| fields.map(|fields| fields.text(name)).unwrap_or_default();
    let chosen = match text("kind") {
        "" => SourceKind::HttpApi.as_str(),
        chosen => chosen,
    };
    let choice = |kind: SourceKind| Choice {
        name: "kind".to_owned(),
        value: kind.as_str().to_owned(),
        label: kind_words(kind).to_owned(),
        hint: format!("Requires scope {}.", kind.scope()),
        chosen: kind.as_str() == chosen,
    };
    NewSourcePage {
        frame: visit.frame("Add source", Section::Sources),
        problem: problems.of_form(&["name", "kind", "write_key"]),
        name: Field::text("name", "Source name")
            .hint("For example, the website or job that sends the events.")
            .value(text("name"))
            .problem(problems.of_field("name")),
        kind: Choices::one("kind", "Kind", SourceKind::ALL.map(choice).into())
            .problem(problems.of_field("kind")),
        write_key: Field::text("write_key", "Write key (optional)")
            .hint("Leave empty to generate one. Enter a key only if clients already use it.")
            .value(text("write_key"))
            .problem(problems.of_field("write_key")),
    }
}

/// `GET sources/new`.
pub(crate) async fn create_form(CurrentVisit(visit): CurrentVisit) -> Page {
    visit.require(Action::CreateSource)?;
    shown(&new_source_page(&visit, None, &Problems::none()))
}

/// `POST sources/new`.
pub(crate) async fn create(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    let write_key = fields.text("write_key");
    let new = NewSource {
        name: fields.text("name").to_owned(),
        kind: fields.text("kind").to_owned(),
        write_key: (!write_key.is_empty()).then(|| write_key.to_owned()),
    };
    answered(
        control
            .sources
            .create(&visit.actor, &visit.workspace.id, new)
            .await,
        |source| visit.done(&visit.to.source_oauth(&source.id), Notice::SourceCreated),
        async |problems| Ok(new_source_page(&visit, Some(&fields), &problems)),
    )
    .await
}
