//! Events of the audit trail as they leave the server: JSON and CSV, in the management API and on the command line.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::times::at_text;
use crate::model::audit::AuditRow;

/// The columns of an export as CSV.
pub const CSV_COLUMNS: &str = "id,at,action,actor_type,actor_id,actor_name,address,resource_type,resource_id,resource_name,before,after\r\n";

/// An event of the audit trail.
#[derive(Serialize, JsonSchema)]
pub struct EventJson {
    id: String,
    at: String,
    action: String,
    actor: ActorJson,
    resource: ResourceJson,
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    before: Option<Box<RawValue>>,
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    after: Option<Box<RawValue>>,
}

/// The actor of an event.
#[derive(Serialize, JsonSchema)]
pub struct ActorJson {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    /// The name at the time of the event, such as a member's e-mail address.
    name: String,
    address: Option<String>,
}

/// The resource of an event.
#[derive(Serialize, JsonSchema)]
pub struct ResourceJson {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    name: String,
}

impl From<AuditRow> for EventJson {
    fn from(row: AuditRow) -> Self {
        // What is no JSON was not written by this program; the check of the trail says so.
        let json = |text: Option<String>| text.and_then(|text| RawValue::from_string(text).ok());
        Self {
            id: row.id,
            at: at_text(row.at),
            action: row.action,
            actor: ActorJson {
                kind: row.actor_type,
                id: row.actor_id,
                name: row.actor_name,
                address: row.address,
            },
            resource: ResourceJson {
                kind: row.resource_type,
                id: row.resource_id,
                name: row.resource_name,
            },
            before: json(row.changed_from),
            after: json(row.changed_to),
        }
    }
}

/// An event as a line of JSON.
///
/// # Errors
/// None in practice: every member is a text or JSON already.
pub fn json_line(row: AuditRow) -> Result<String, serde_json::Error> {
    serde_json::to_string(&EventJson::from(row)).map(|line| line + "\n")
}

/// An event as a line of CSV.
#[must_use]
pub fn csv_line(row: &AuditRow) -> String {
    let mut text = String::new();
    let at = at_text(row.at);
    let none = String::new();
    let fields = [
        &row.id,
        &at,
        &row.action,
        &row.actor_type,
        &row.actor_id,
        &row.actor_name,
        row.address.as_ref().unwrap_or(&none),
        &row.resource_type,
        &row.resource_id,
        &row.resource_name,
        row.changed_from.as_ref().unwrap_or(&none),
        row.changed_to.as_ref().unwrap_or(&none),
    ];
    for (place, field) in fields.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.push_str(&csv_field(field));
    }
    text.push_str("\r\n");
    text
}

/// A field of CSV (RFC 4180). One that a spreadsheet would run as a formula gets an apostrophe in front.
fn csv_field(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '|', '%']);
    let guard = if formula { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::csv_field;

    #[test]
    fn csv_is_quoted_and_never_a_formula() {
        assert_eq!(
            csv_field("plain, with \"quotes\""),
            "\"plain, with \"\"quotes\"\"\""
        );
        assert_eq!(csv_field("=HYPERLINK(1)"), "\"'=HYPERLINK(1)\"");
        for bad in ["+1", "-1", "@SUM(1)", "\t=1", "\r=1"] {
            assert!(csv_field(bad).starts_with("\"'"), "{bad:?}");
        }
    }
}
