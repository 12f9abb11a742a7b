//! Apps and keys as they appear in the audit trail.

use super::details::AppDetails;
use crate::control::audit_event::AuditAction;
use crate::control::audit_event::Event;
use crate::model::app::App;
use crate::model::app::AppKey;
use serde_json::Value;
use serde_json::json;

/// An action on an app.
pub(crate) fn app_event(action: AuditAction, app: &App) -> Event {
    Event::new(action, &app.workspace, "app", &app.id, &app.name)
}

/// An app as it appears in the trail.
pub(crate) fn app_value(found: &AppDetails) -> Value {
    let scopes: Vec<&str> = found.app.scopes.iter().map(|scope| scope.as_str()).collect();
    json!({
        "name": found.app.name.as_str(),
        "scopes": scopes,
        "token_lifetime": found.app.token_lifetime.as_str(),
        "keys": found.keys.iter().map(key_value).collect::<Vec<_>>(),
    })
}

/// A public key as it appears in the trail: by its thumbprint.
pub(crate) fn key_value(key: &AppKey) -> Value {
    let mut value = json!({
        "id": key.id.as_str(),
        "name": key.name.as_str(),
        "thumbprint": key.thumbprint,
        "algorithm": key.algorithm.as_str(),
    });
    if let (Some(members), Some(at)) = (value.as_object_mut(), key.expires_at) {
        members.insert("expires_at".to_owned(), at.0.into());
    }
    value
}
