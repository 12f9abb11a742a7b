//! How a client of one OAuth app gets a token: samples with the values of this app.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use crate::control::http::console::answer::shown;
use crate::control::http::console::fault::Page;
use crate::control::http::console::frame::{Frame, Section};
use crate::control::http::console::visit::CurrentVisit;
use crate::control::plane::Control;
use crate::domain::key::Algorithm;
use crate::domain::role::Action;
use crate::domain::scope::ScopeSet;
use crate::model::source::Source;

#[derive(Template)]
#[template(path = "apps/client.html")]
struct ClientPage<'a> {
    frame: Frame,
    tab: &'static str,
    app_id: String,
    app_name: String,
    /// Whether the app has no key yet.
    no_key: bool,
    may_edit: bool,
    /// The ID of the newest key.
    key_id: String,
    several_keys: bool,
    issuer: &'a str,
    scope: String,
    scopes: String,
    /// The first connected source that the member may view, and its write key. What the source calls its key.
    source_name: Option<String>,
    write_key: String,
    key_word: &'static str,
    /// Whether `openssl dgst` makes the signature of the key's algorithm.
    by_openssl: bool,
}

/// The scope that the sample asks for: the one of its source, else the tracking API's, else the app's first.
fn scope_of_sample(scopes: &ScopeSet, source: Option<&Source>) -> String {
    let wanted = source.map_or("tracking_api:write", |source| source.kind.scope());
    let held = scopes.iter().find(|scope| scope.as_str() == wanted);
    let scope = held.or_else(|| scopes.iter().next());
    scope.map(ToString::to_string).unwrap_or_default()
}

/// `GET apps/{id}/client`.
pub(crate) async fn show(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let found = control
        .apps
        .get(&visit.actor, &visit.workspace.id, &visit.app()?)
        .await?;
    let connected = control
        .search
        .connected(&visit.actor, &visit.workspace.id, &found.app.id, 1)
        .await?;
    let source = connected.shown.first();
    let key = found.keys.last();
    let scope = scope_of_sample(&found.app.scopes, source);
    let (placeholder, key_word) = match scope.as_str() {
        "functions:write" => ("FUNCTION_KEY", "function key"),
        _ => ("WRITE_KEY", "write key"),
    };
    shown(&ClientPage {
        frame: visit.frame(format!("Get a token as {}", found.app.name), Section::Apps),
        tab: "client",
        app_id: found.app.id.to_string(),
        app_name: found.app.name.to_string(),
        key_id: key.map_or_else(|| "KEY_ID".to_owned(), |key| key.id.to_string()),
        several_keys: found.keys.len() > 1,
        issuer: control.issuer(),
        scope,
        scopes: found.app.scopes.to_string(),
        source_name: source.map(|source| source.name.to_string()),
        write_key: source
            .map_or(placeholder, |source| source.write_key.expose())
            .to_owned(),
        key_word,
        no_key: key.is_none(),
        may_edit: visit.may(Action::EditApp),
        by_openssl: key.is_none_or(|key| key.algorithm == Algorithm::Rs256),
    })
}
