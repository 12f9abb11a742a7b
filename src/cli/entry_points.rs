//! What `check` and `serve` do with a config up to the first socket, for the test that they agree.

use std::path::Path;

use super::{check, planes, preflight};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, ListenerTls, PolicyOrigin, load_policy};
use crate::gateway::offline::OfflineGateway;
use crate::tls::acceptor::Acceptor;
use crate::tls::metrics::TlsMetrics;

/// Whether `check` takes a text that stands at `path`.
///
/// # Errors
/// [`ConfigError`] with what it prints.
pub fn check(path: &Path, text: &str) -> Result<(), ConfigError> {
    check::checked_text(path, text, Clock::System.now()).map(drop)
}

/// Whether `serve` takes it: it is read, and everything that needs no socket and no store is built.
///
/// # Errors
/// The sentence that it ends with.
pub fn serve(path: &Path, text: &str) -> Result<(), String> {
    let now = Clock::System.now();
    let checked = preflight::read_text(path, text, now).map_err(|error| error.to_string())?;
    let config: &Config = &checked.config;
    if let Some(gateway) = &config.gateway {
        let offline = OfflineGateway::new(gateway, &config.issuers, Clock::System);
        let offline = offline.map_err(|error| error.to_string())?;
        for listener in &gateway.listeners {
            accept(&listener.address, listener.tls.as_ref())?;
        }
        if let PolicyOrigin::File(file) = &config.policy {
            let policy = load_policy(file, &config.issuers, 1, now).map_err(|error| error.to_string())?;
            offline
                .install(&policy, config.freshness)
                .map_err(|error| error.to_string())?;
        }
    }
    if let Some(control) = &config.control_plane {
        let settings = planes::control_settings(control, &control.listen);
        settings.check().map_err(|error| error.to_string())?;
        accept(&control.listen, control.tls.as_ref())?;
        if let Some(edges) = &control.edges {
            accept(&edges.listen, edges.tls.as_ref())?;
        }
    }
    if let Some(address) = &config.observability.listen {
        accept(address, config.observability.tls.as_ref())?;
    }
    Ok(())
}

fn accept(address: &str, tls: Option<&ListenerTls>) -> Result<(), String> {
    let Some(tls) = tls else { return Ok(()) };
    let metrics = TlsMetrics::new("none").map_err(|error| error.to_string())?;
    Acceptor::new(address, tls, metrics)
        .map(drop)
        .map_err(|error| error.to_string())
}
