//! What an audit event changed, as lines of text.

use serde_json::{Map, Value};

use super::components::exact;
use crate::domain::time::UnixSeconds;

/// One member of a resource before and after a change.
pub(crate) struct Change {
    pub name: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

/// The members that differ, in the order of their names. Texts that are not JSON objects are shown as they are.
pub(crate) fn changes(before: Option<&str>, after: Option<&str>) -> Vec<Change> {
    let (before, after) = (members(before), members(after));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| Change {
            name: name.replace('_', " "),
            before: before.get(name).and_then(|value| text(name, value)),
            after: after.get(name).and_then(|value| text(name, value)),
        })
        .filter(|change| change.before.is_some() || change.after.is_some())
        .collect()
}

fn members(text: Option<&str>) -> Map<String, Value> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Map::new();
    };
    match serde_json::from_str(text) {
        Ok(Value::Object(members)) => members,
        _ => Map::from_iter([("value".to_owned(), Value::String(text.to_owned()))]),
    }
}

/// A value in words; none for what is absent. Times are Unix seconds in the trail.
fn text(name: &str, value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if is_time(name) => number.as_u64().map(|seconds| exact(UnixSeconds(seconds))),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().filter_map(|item| text(name, item)).collect();
            Some(items.join(", "))
        }
        Value::Object(members) => {
            let pairs = members
                .iter()
                .filter_map(|(name, value)| Some(format!("{name} {}", text(name, value)?)));
            Some(pairs.collect::<Vec<_>>().join(", "))
        }
        other => Some(other.to_string()),
    }
}

fn is_time(name: &str) -> bool {
    ["_at", "_before", "_from", "_until", "_since"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(before: Option<&str>, after: Option<&str>) -> Vec<String> {
        let line = |change: Change| {
            let part = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
            format!(
                "{}: {} > {}",
                change.name,
                part(change.before),
                part(change.after)
            )
        };
        changes(before, after).into_iter().map(line).collect()
    }

    #[test]
    fn changes_are_listed_by_name_with_times_in_words() {
        assert_eq!(
            lines(
                Some(r#"{"name":"a","expires_at":86400}"#),
                Some(r#"{"name":"b","scopes":["x","y"],"app_id":null}"#)
            ),
            [
                "expires at: 1970-01-02T00:00:00Z > -",
                "name: a > b",
                "scopes: - > x, y"
            ]
        );
        assert_eq!(lines(None, None), Vec::<String>::new());
        assert_eq!(lines(Some("not json"), None), ["value: not json > -"]);
    }
}
