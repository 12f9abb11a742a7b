//! docs/reference/config.schema.json: the keys of docs/reference/config.md as JSON Schema 2020-12, for editors.
//! `portcullis schema` prints it, and `portcullis schema policy` that of policy files.

use std::collections::BTreeMap;

use portcullis::config::PolicyDocument;
use serde_json::{Map, Value, json};

use super::config_keys::{Key, Note};
use crate::{check_page, root};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Keys that take one name or a list of names.
const NAMES: &str = "issuers[].claims.";

/// Keys that take one of a few words.
const CHOICES: [(&str, &[&str]); 11] = [
    ("version", &[]),
    ("gateway.listeners[].proxy_protocol", &["off", "require"]),
    ("gateway.apis.NAME.unknown_sources", &["deny", "forward"]),
    ("gateway.apis.NAME.without_token", &["deny", "forward"]),
    (
        "issuers[].profile",
        &[
            "rfc9068", "auth0", "okta", "entra", "cognito", "keycloak", "google",
        ],
    ),
    ("policy.source", &["bundled", "remote", "file"]),
    ("policy.when_stale", &["deny", "allow"]),
    ("log.level", &["error", "warn", "info", "debug", "trace"]),
    ("log.format", &["json", "text"]),
    ("observability.access_log.format", &["json", "text"]),
    (
        "control_plane.signing.algorithm",
        &["RS256", "PS256", "ES256", "EdDSA"],
    ),
];

/// Compares the schema of these keys with the file.
pub fn check(keys: &[Key], notes: &BTreeMap<String, Note>) {
    let mut schema = section();
    for key in keys {
        let mut leaf = match key.path.starts_with(NAMES) {
            true => json!({"type": ["string", "array"], "items": {"type": "string"}}),
            false => of_kind(&key.kind),
        };
        let note = &notes[&key.path];
        leaf["description"] = note.meaning.replace('`', "").into();
        if let Some(default) = &note.default {
            leaf["default"] = serde_saphyr::from_str(default).unwrap();
        }
        match CHOICES.iter().find(|(path, _)| *path == key.path) {
            Some((_, [])) => leaf["const"] = json!(1),
            Some((_, words)) => leaf["anyOf"] = json!([{"enum": words}, {"pattern": r"\$\{"}]),
            None => {}
        }
        insert(&mut schema, &key.path, leaf, key.is_required);
    }
    schema["$schema"] = DIALECT.into();
    schema["title"] = "portcullis config".into();
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    check_page("config.schema.json", &text);
}

fn section() -> Value {
    json!({"type": "object", "properties": {}, "additionalProperties": false})
}

fn of_kind(kind: &str) -> Value {
    match kind {
        "section" => section(),
        "text" => json!({"type": "string"}),
        "number" => json!({"type": "number", "minimum": 0}),
        "`true` or `false`" => json!({"type": "boolean"}),
        "duration" => json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"}),
        "size" => json!({"type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$"}),
        other => match other.strip_prefix("list of ") {
            Some(item) => json!({"type": "array", "items": of_kind(item.trim_end_matches('s'))}),
            None => json!({}),
        },
    }
}

/// Puts a key into the section that its path names.
fn insert(schema: &mut Value, path: &str, leaf: Value, is_required: bool) {
    let mut names: Vec<&str> = path.split('.').collect();
    let last = names.pop().unwrap();
    let mut at = schema;
    for name in names {
        let bare = name.trim_end_matches("[]");
        at = match bare {
            "NAME" => {
                if at["additionalProperties"] == false {
                    at["additionalProperties"] = section();
                }
                &mut at["additionalProperties"]
            }
            _ => &mut at["properties"][bare],
        };
        if bare != name {
            at = &mut at["items"];
        }
    }
    if !at["properties"].is_object() {
        at["properties"] = Value::Object(Map::new());
        // A text, or a section in its place.
        at["type"] = json!(["string", "object"]);
        at["additionalProperties"] = false.into();
    }
    at["properties"][last] = leaf;
    if is_required {
        match at["required"].as_array_mut() {
            Some(required) => required.push(last.into()),
            None => at["required"] = json!([last]),
        }
    }
}

/// What the types say of a policy file.
fn complaint(file: &Value) -> String {
    match serde_saphyr::from_str::<PolicyDocument>(&file.to_string()) {
        Ok(_) => String::new(),
        Err(error) => error.without_snippet().to_string(),
    }
}

#[test]
fn policy_schema_has_the_keys_of_the_types() {
    let text = std::fs::read_to_string(root().join("docs/reference/policy.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(schema["$schema"], DIALECT);
    let names = |schema: &Value| -> Vec<String> {
        schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    for list in names(&schema) {
        let item = &schema["properties"][&list]["items"];
        let unknown = complaint(&json!({&list: [{"no_such_key": 1}]}));
        let known = unknown.split_once("expected one of ").unwrap().1;
        let mut known: Vec<&str> = known.split(" at line").next().unwrap().split(", ").collect();
        known.iter_mut().for_each(|name| *name = name.trim_matches('`'));
        known.sort_unstable();
        let mut described = names(item);
        described.sort_unstable();
        assert_eq!(described, known, "{list}");
        let whole: Value = described
            .iter()
            .map(|name| (name.clone(), sample(&item["properties"][name])))
            .collect::<Map<_, _>>()
            .into();
        assert_eq!(complaint(&json!({&list: [whole.clone()]})), "", "{list}");
        for name in described {
            let mut without = whole.clone();
            without.as_object_mut().unwrap().remove(&name);
            let is_required = !complaint(&json!({&list: [without]})).is_empty();
            let required = item["required"].as_array().unwrap();
            assert_eq!(
                required.iter().any(|held| *held == name),
                is_required,
                "{list} {name}"
            );
        }
    }
    assert_eq!(names(&schema), ["apps", "revoked", "sources"]);
}

/// A value that a schema takes.
fn sample(schema: &Value) -> Value {
    match schema["type"].as_str().unwrap() {
        "array" => json!([]),
        "integer" => json!(1),
        _ => json!("a"),
    }
}
