//! Sources: the list with its filters, and making one.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use crate::control::http::console::components::{Badge, Choice, Choices, Field, PAGE_ITEMS, Pager, encoded};
use crate::control::http::console::fault::{Page, Problems};
use crate::control::http::console::fields::Fields;
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section, page};
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::control::sources::source::NewSource;
use crate::domain::ids::AppId;
use crate::domain::policy::Enforcement;
use crate::domain::role::Action;
use crate::domain::source_kind::SourceKind;
use crate::model::page::Page as Span;
use crate::model::search::{SourceFilter, SourceSummary};

/// A source's kind as people read it.
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
struct Pick {
    value: &'static str,
    label: &'static str,
    chosen: bool,
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
#[template(path = "sources.html")]
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
            badge: Badge::of(item.source.enforcement),
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
    let span = Span {
        after,
        limit: PAGE_ITEMS + 1,
    };
    let found = control
        .search
        .find_sources(&visit.actor, workspace, &filter, span)
        .await?;
    let (kind_word, mode_word) = (
        kind.map_or("", SourceKind::as_str),
        mode.map_or("", Enforcement::as_str),
    );
    let path = format!(
        "{}/sources?q={}&kind={kind_word}&mode={mode_word}&app={}",
        visit.at,
        encoded(q),
        encoded(app)
    );
    let (found, pager) = Pager::of_search(found, "sources", &path, after, |item| item.source.id.as_str());
    let app_name = match &filter.app {
        Some(id) => control
            .search
            .app_without_keys(&visit.actor, workspace, id)
            .await
            .ok()
            .map(|found| found.name.to_string()),
        None => None,
    };
    Ok(page(
        StatusCode::OK,
        &SourcesPage {
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
                [("on", "Enforced"), ("observe", "Observe"), ("off", "Off")],
                mode_word,
            ),
            sources: found.into_iter().map(Row::from).collect(),
            pager,
        },
    ))
}

#[derive(Template)]
#[template(path = "source_new.html")]
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
        hint: format!("Tokens for it need the scope {}.", kind.scope()),
        chosen: kind.as_str() == chosen,
    };
    NewSourcePage {
        frame: visit.frame("Add source", Section::Sources),
        problem: problems.of_form(&["name", "kind", "write_key"]),
        name: Field::text("name", "Source name")
            .hint("What sends the events, such as the website or the job.")
            .value(text("name"))
            .problem(problems.of_field("name")),
        kind: Choices::one("kind", "Kind", SourceKind::ALL.map(choice).into())
            .problem(problems.of_field("kind")),
        write_key: Field::text("write_key", "Write key (optional)")
            .hint("Only if clients use one already. Left empty, a new one is made.")
            .value(text("write_key"))
            .problem(problems.of_field("write_key")),
    }
}

/// `GET sources/new`.
pub(crate) async fn create_form(CurrentVisit(visit): CurrentVisit) -> Page {
    visit.require(Action::CreateSource)?;
    Ok(page(
        StatusCode::OK,
        &new_source_page(&visit, None, &Problems::none()),
    ))
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
    match control
        .sources
        .create(&visit.actor, &visit.workspace.id, new)
        .await
    {
        Ok(made) => Ok(visit.done(&format!("/sources/{}/oauth", made.id), "source-created")),
        Err(error) => {
            let problems = Problems::of(error)?;
            Ok(page(
                problems.status,
                &new_source_page(&visit, Some(&fields), &problems),
            ))
        }
    }
}
