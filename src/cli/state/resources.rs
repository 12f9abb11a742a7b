//! The sources that roles name, and whether a member has the roles of the file.

use super::current::Current;
use super::wanted::{Wanted, WantedRole, WantedSource};
use crate::domain::ids::SourceId;
use crate::domain::name::composed;
use crate::domain::role::{Assigned, Grants};
use crate::model::member::Member;

/// A source that a role names.
#[derive(PartialEq, Eq)]
pub(super) enum Resource {
    /// Of the file, by number, and not created yet.
    File(usize),
    Stored(SourceId),
}

/// The source with this id or name: of the file, or else of the workspace.
///
/// # Errors
/// There is none, or more than one.
pub(super) fn resource(
    current: &Current,
    wanted: &Wanted,
    sources: &[Option<SourceId>],
    named: &str,
) -> Result<Resource, ()> {
    let is_named =
        |source: &WantedSource| source.id.as_deref() == Some(named) || source.name.as_str() == named;
    let mut of_file = wanted
        .sources
        .iter()
        .enumerate()
        .filter(|(_, source)| is_named(source));
    match (of_file.next(), of_file.next()) {
        (Some((at, _)), None) => {
            return Ok(match sources.get(at).cloned().flatten() {
                Some(id) => Resource::Stored(id),
                None => Resource::File(at),
            });
        }
        (Some(_), Some(_)) => return Err(()),
        (None, _) => {}
    }
    let mut held = current
        .sources
        .iter()
        .filter(|held| held.id.as_str() == named || held.name.as_str() == named);
    match (held.next(), held.next()) {
        (Some(held), None) => Ok(Resource::Stored(held.id.clone())),
        _ => Err(()),
    }
}

pub(super) fn same_email(one: &str, other: &str) -> bool {
    composed(&composed(one.trim()).to_lowercase()) == composed(&composed(other.trim()).to_lowercase())
}

pub(super) fn has_roles(
    current: &Current,
    wanted: &Wanted,
    held: &Member,
    roles: &[WantedRole],
    sources: &[Option<SourceId>],
) -> bool {
    let grants: &Grants = &held.grants;
    let is_held = |role: &WantedRole| {
        grants
            .iter()
            .filter(|grant| grant.role == role.role)
            .any(|grant| match (&grant.resources, &role.resources) {
                (Assigned::All, None) => true,
                (Assigned::Listed(ids), Some(named)) => {
                    let found = named
                        .iter()
                        .map(|named| resource(current, wanted, sources, named));
                    ids.len() == named.len()
                        && found
                            .into_iter()
                            .all(|one| matches!(one, Ok(Resource::Stored(id)) if ids.contains(&id)))
                }
                _ => false,
            })
    };
    grants.iter().count() == roles.len() && roles.iter().all(is_held)
}
