//! Writes what a workspace holds as YAML. Texts stand in double quotes, as JSON writes them, which YAML reads alike.

use std::fmt::Write as _;

use serde_json::Value;

use super::current::Current;
use crate::control::http::api::times::at_text;
use crate::domain::role::Assigned;
use crate::domain::scope::Scope;

/// The file. It has no secret: neither write keys nor anything of a password.
pub(super) fn text(current: &Current) -> String {
    let mut out = format!(
        "# Workspace {} ({}), written by `portcullis export`. `portcullis apply` makes a workspace hold it.\n",
        quoted(current.workspace.name.as_str()),
        current.workspace.id
    );
    section(&mut out, "apps", current.apps.iter().map(app));
    section(&mut out, "sources", current.sources.iter().map(source));
    let joined = current.members.iter().filter(|member| member.joined_at.is_some());
    section(&mut out, "members", joined.map(member));
    out
}

fn section(out: &mut String, name: &str, entries: impl Iterator<Item = String>) {
    let entries: String = entries.collect();
    // Writing to a String does not fail.
    let _ = match entries.is_empty() {
        true => writeln!(out, "{name}: []"),
        false => write!(out, "{name}:\n{entries}"),
    };
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn app(held: &crate::control::AppDetails) -> String {
    let app = &held.app;
    let scopes: Vec<String> = app.scopes.iter().map(Scope::as_str).map(quoted).collect();
    let mut out = format!(
        "  - id: {}\n    name: {}\n    scopes: [{}]\n    token_lifetime: {}\n",
        quoted(app.id.as_str()),
        quoted(app.name.as_str()),
        scopes.join(", "),
        app.token_lifetime.as_str()
    );
    if held.keys.is_empty() {
        out.push_str("    keys: []\n");
    } else {
        out.push_str("    keys:\n");
    }
    for key in &held.keys {
        let pem: String = key
            .pem
            .lines()
            .map(|line| format!("          {line}\n"))
            .collect();
        let expires = key
            .expires_at
            .map(|at| format!("        expires_at: \"{}\"\n", at_text(at)));
        let _ = write!(
            out,
            "      - name: {}\n        algorithm: {}\n{}        pem: |\n{pem}",
            quoted(key.name.as_str()),
            key.algorithm.as_str(),
            expires.unwrap_or_default()
        );
    }
    out
}

fn source(source: &crate::model::source::Source) -> String {
    let mut out = format!(
        "  - id: {}\n    name: {}\n    kind: {}\n",
        quoted(source.id.as_str()),
        quoted(source.name.as_str()),
        source.kind.as_str()
    );
    if let Some(app) = &source.app {
        let _ = writeln!(out, "    app: {}", quoted(app.as_str()));
    }
    let _ = writeln!(out, "    enforcement: {}", quoted(source.enforcement.as_str()));
    out
}

fn member(member: &crate::model::member::Member) -> String {
    let mut out = format!("  - email: {}\n    roles:\n", quoted(&member.email));
    for grant in member.grants.iter() {
        let resources = match &grant.resources {
            _ if !grant.role.is_for_sources() => String::new(),
            Assigned::All => ", resources: all".to_owned(),
            Assigned::Listed(ids) => {
                let ids: Vec<String> = ids.iter().map(|id| quoted(id.as_str())).collect();
                format!(", resources: [{}]", ids.join(", "))
            }
        };
        let _ = writeln!(out, "      - {{role: {}{resources}}}", grant.role.as_str());
    }
    out
}
