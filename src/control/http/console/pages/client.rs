//! How a client of one OAuth app gets a token: samples with this app's own values in them.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use crate::control::http::console::fault::Page;
use crate::control::http::console::frame::{Frame, Section, page};
use crate::control::http::console::visit::CurrentVisit;
use crate::control::plane::Control;
use crate::domain::key::Algorithm;

#[derive(Template)]
#[template(path = "client.html")]
struct ClientPage<'a> {
    frame: Frame,
    tab: &'static str,
    app_id: String,
    app_name: String,
    /// The newest key's id; a client signs with the one whose private half it has.
    key_id: String,
    several_keys: bool,
    issuer: &'a str,
    scope: String,
    scopes: String,
    /// The first connected source that the reader may view, and its write key.
    source_name: Option<String>,
    write_key: String,
    /// Whether openssl's plain signature is the one that the key's algorithm takes.
    by_openssl: bool,
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
    let tracking = found
        .app
        .scopes
        .iter()
        .find(|scope| scope.as_str() == "tracking_api:write");
    let first = tracking.or_else(|| found.app.scopes.iter().next());
    Ok(page(
        StatusCode::OK,
        &ClientPage {
            frame: visit.frame(format!("Get a token as {}", found.app.name), Section::Apps),
            tab: "client",
            app_id: found.app.id.to_string(),
            app_name: found.app.name.to_string(),
            key_id: key.map_or_else(|| "KEY_ID".to_owned(), |key| key.id.to_string()),
            several_keys: found.keys.len() > 1,
            issuer: control.issuer(),
            scope: first.map(ToString::to_string).unwrap_or_default(),
            scopes: found.app.scopes.to_string(),
            source_name: source.map(|source| source.name.to_string()),
            write_key: source
                .map_or("WRITE_KEY", |source| source.write_key.expose())
                .to_owned(),
            by_openssl: key.is_none_or(|key| key.algorithm == Algorithm::Rs256),
        },
    ))
}
