//! Roles of members, as requests name them and as the audit trail shows them.

use crate::control::error::ControlError;
use crate::domain::ids::SourceId;
use crate::domain::ids::WorkspaceId;
use crate::domain::role::Assigned;
use crate::domain::role::Grant;
use crate::domain::role::Grants;
use crate::domain::role::LISTED_MAX;
use crate::domain::role::Role;
use crate::domain::source_kind::SourceKind;
use crate::store::ReadTx;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::collections::HashSet;

/// Grants as they appear in the trail.
pub(crate) fn grants_value(grants: &Grants) -> Value {
    let grants = grants.iter().map(|grant| {
        let mut value = Map::new();
        value.insert("role".to_owned(), json!(grant.role.as_str()));
        if grant.role.is_for_sources() {
            let resources = match &grant.resources {
                Assigned::All => json!("all"),
                Assigned::Listed(ids) => ids.iter().map(|id| json!(id.as_str())).collect(),
            };
            value.insert("resources".to_owned(), resources);
        }
        Value::Object(value)
    });
    grants.collect()
}

/// A requested role, with its resources.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGrant {
    #[schemars(extend("enum" = ["workspace_owner", "workspace_member", "source_admin", "source_read_only", "function_admin", "function_read_only"]))]
    pub role: String,
    /// For the roles on sources and functions only: `"all"`, or a list of ids.
    #[serde(default)]
    pub resources: Option<NewResources>,
}

/// The requested resources of a role.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum NewResources {
    Word(String),
    Listed(Vec<String>),
}

/// Validates requested roles: each at most once, with resources that exist in the workspace.
pub(crate) async fn grants(
    tx: &mut ReadTx,
    workspace: &WorkspaceId,
    roles: &[NewGrant],
) -> Result<Grants, ControlError> {
    if roles.is_empty() {
        return Err(ControlError::invalid("roles", "name at least one role"));
    }
    let mut grants = Vec::with_capacity(roles.len().min(Role::ALL.len()));
    for (at, new) in roles.iter().enumerate() {
        let field = format!("roles[{at}]");
        let role = Role::parse(&new.role).ok_or_else(|| {
            let names = Role::ALL.map(Role::as_str).join(", ");
            ControlError::invalid(format!("{field}.role"), format!("a role is one of {names}"))
        })?;
        if grants.iter().any(|held: &Grant| held.role == role) {
            let problem = "the role is repeated; list all of its resources in one entry";
            return Err(ControlError::invalid(format!("{field}.role"), problem));
        }
        let resources = assigned(tx, workspace, role, new.resources.as_ref(), &field).await?;
        grants.push(Grant { role, resources });
    }
    Ok(grants.into_iter().collect())
}

pub(crate) async fn assigned(
    tx: &mut ReadTx,
    workspace: &WorkspaceId,
    role: Role,
    resources: Option<&NewResources>,
    field: &str,
) -> Result<Assigned, ControlError> {
    let refused = |problem: String| ControlError::invalid(format!("{field}.resources"), problem);
    match resources {
        None if role.is_for_sources() => {
            Err(refused("add `resources`: \"all\", or a list of ids".to_owned()))
        }
        None => Ok(Assigned::All),
        Some(_) if !role.is_for_sources() => Err(refused(
            "remove `resources`: this role is for the whole workspace".to_owned(),
        )),
        Some(NewResources::Word(word)) if word == "all" => Ok(Assigned::All),
        Some(NewResources::Word(_)) => Err(refused("this is neither \"all\" nor a list of ids".to_owned())),
        Some(NewResources::Listed(texts)) => {
            let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            texts.sort_unstable();
            texts.dedup();
            if texts.is_empty() || texts.len() > LISTED_MAX {
                return Err(refused(format!("list 1 to {LISTED_MAX} ids, or write \"all\"")));
            }
            let unknown = |text: &str| refused(not_reached(role, text));
            let ids: Result<Vec<_>, _> = texts
                .iter()
                .map(|text| SourceId::parse(text).map_err(|_| unknown(text)))
                .collect();
            let ids = ids?;
            let found = tx.kinds_of(workspace, &ids).await?;
            let reached: HashSet<&SourceId> = found
                .iter()
                .filter(|(_, kind)| role.reaches(*kind))
                .map(|(id, _)| id)
                .collect();
            match ids.iter().find(|id| !reached.contains(id)) {
                Some(id) => Err(unknown(id.as_str())),
                None => Ok(Assigned::Listed(ids)),
            }
        }
    }
}

/// Echoes only as much of the input as an id could have.
pub(crate) fn not_reached(role: Role, text: &str) -> String {
    let what = if role.reaches(SourceKind::SourceFunction) {
        "source function"
    } else {
        "source"
    };
    let text: String = text.chars().filter(char::is_ascii_graphic).take(64).collect();
    format!("{what} `{text}` not found in this workspace")
}
