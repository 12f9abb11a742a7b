//! The settings of one OAuth app: name, token expiration, scopes and public keys.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::app::KeyRow;
use super::apps::{lifetime_choices, lifetime_words, scope_choices};
use crate::control::apps::app::AppChange;
use crate::control::apps::details::AppDetails;
use crate::control::error::ControlError;
use crate::control::http::console::answer::{refused, shown};
use crate::control::http::console::components::{Choices, Field};
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::fields::Fields;
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section, page};
use crate::control::http::console::notice::Notice;
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::domain::decimal::canonical;
use crate::domain::ids::AppId;
use crate::domain::policy::Enforcement;
use crate::domain::role::Action;
use crate::model::page::Page as Span;
use crate::model::search::SourceFilter;
use http::StatusCode;

#[derive(Template)]
#[template(path = "apps/settings.html")]
struct SettingsPage {
    frame: Frame,
    tab: &'static str,
    app_id: String,
    app_name: String,
    problem: String,
    theirs: Option<ConcurrentEdit>,
    /// What removing a scope would deny; the form is to be sent once more.
    warning: String,
    may_edit: bool,
    revision: u64,
    name: Field,
    lifetime: Choices,
    lifetime_words: &'static str,
    scopes: Choices,
    scope_words: String,
    keys: Vec<KeyRow>,
}

/// What was saved since the page was opened.
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
        warning: String::new(),
        may_edit: visit.may(Action::EditApp),
        revision: app.revision,
        name: Field::text("name", "Application name")
            .value(name)
            .problem(problems.of_field("name")),
        lifetime: lifetime_choices(lifetime, problems)
            .hint("Applies to new tokens. Existing tokens keep their expiry."),
        lifetime_words: lifetime_words(app.token_lifetime),
        scopes: scope_choices(&chosen, problems)
            .hint("Removing a scope takes effect immediately, including for tokens already issued."),
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
    shown(&settings_page(&visit, found, None, &Problems::none()))
}

/// Sources that are looked at for the scopes they require.
const SOURCES_CHECKED: u32 = 200;

/// What a change to these scopes would deny, in a sentence; empty if nothing.
async fn scopes_in_use(
    control: &Control,
    visit: &PageContext,
    id: &AppId,
    scopes: &[String],
) -> Result<String, Fault> {
    let workspace = &visit.workspace.id;
    let held = control
        .search
        .app_without_keys(&visit.actor, workspace, id)
        .await?;
    let mut denied = 0;
    for enforcement in [Enforcement::On, Enforcement::Observe] {
        let filter = SourceFilter {
            app: Some(id.clone()),
            enforcement: Some(enforcement),
            ..SourceFilter::default()
        };
        let span = Span {
            after: "",
            limit: SOURCES_CHECKED,
        };
        let found = control
            .search
            .find_sources(&visit.actor, workspace, &filter, span)
            .await?;
        let needs = |scope: &str| held.scopes.iter().any(|held| held.as_str() == scope);
        let removed = found.items.iter().map(|item| item.source.kind.scope());
        denied += removed
            .filter(|scope| needs(scope) && !scopes.iter().any(|kept| kept.as_str() == *scope))
            .count();
    }
    Ok(match denied {
        0 => String::new(),
        1 => "1 connected source requires a scope that you remove. If it is enforced, it will deny every request.".to_owned(),
        denied => format!(
            "{denied} connected sources require a scope that you remove. Those that are enforced will deny every request."
        ),
    })
}

/// `POST apps/{id}/settings`.
pub(crate) async fn save(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    visit.require(Action::EditApp)?;
    let id = visit.app()?;
    let workspace = &visit.workspace.id;
    let change = AppChange {
        name: Some(fields.text("name").to_owned()),
        scopes: Some(fields.ticked_of("scope.")),
        token_lifetime: Some(fields.text("token_lifetime").to_owned()),
    };
    let actor = visit.actor_who_saw(&fields);
    let warning = scopes_in_use(&control, &visit, &id, &fields.ticked_of("scope.")).await?;
    if !warning.is_empty() && !fields.ticked("remove_scope") {
        let found = control.apps.get(&visit.actor, workspace, &id).await?;
        let revision = canonical(fields.text("revision")).unwrap_or(0);
        return shown(&SettingsPage {
            warning,
            revision,
            ..settings_page(&visit, found, Some(&fields), &Problems::none())
        });
    }
    let Err(error) = control.apps.update(&actor, workspace, &id, change).await else {
        return Ok(visit.done(&visit.to.app_settings(&id), Notice::AppSaved));
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
    refused(Problems::of(error)?, async |problems| {
        Ok(settings_page(&visit, found, Some(&fields), &problems))
    })
    .await
}
