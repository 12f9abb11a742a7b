//! Apps and their keys as the audit trail shows them.

use super::details::AppDetails;
use crate::control::audit_event::AuditAction;
use crate::control::audit_event::Event;
use crate::model::app::App;
use crate::model::app::AppKey;
use serde_json::Value;
use serde_json::json;

/// Something done to an app.
pub(crate) fn app_event(deed: AuditAction, app: &App) -> Event {
    Event::new(deed, &app.workspace, "app", &app.id, &app.name)
}

/// An app as the trail shows it.
pub(crate) fn app_value(found: &AppDetails) -> Value {
    let scopes: Vec<&str> = found.app.scopes.iter().map(|scope| scope.as_str()).collect();
    json!({
        "name": found.app.name.as_str(),
        "scopes": scopes,
        "token_lifetime": found.app.token_lifetime.as_str(),
        "keys": found.keys.iter().map(key_value).collect::<Vec<_>>(),
    })
}

/// A public key as the trail shows it: by its thumbprint.
pub(crate) fn key_value(key: &AppKey) -> Value {
    json!({
        "id": key.id.as_str(),
        "name": key.name.as_str(),
        "thumbprint": key.thumbprint,
        "algorithm": key.algorithm.as_str(),
    })
}
