//! The roles of a form and their sources. Sources are searched by name and selected; a search submits the form without
//! saving it, so that it works without script and keeps all input.

use super::components::sentence;
use super::fault::{Fault, Problems};
use super::fields::Fields;
use super::pages::sources::kind_words;
use super::visit::PageContext;
use crate::control::error::ControlError;
use crate::control::plane::Control;
use crate::control::workspaces::roles::{NewGrant, NewResources};
use crate::domain::ids::SourceId;
use crate::domain::role::{Assigned, Grants, Role};
use crate::domain::source_kind::SourceKind;
use crate::model::page::Page as Span;
use crate::model::search::{Found, SourceFilter};
use crate::model::source::Source;

/// Selected sources that are shown as checkboxes. Further ones are kept hidden, and can be searched.
const CHOSEN_SHOWN: usize = 30;

/// Sources that one search shows.
const FOUND_SHOWN: usize = 20;

/// One role of a form: whether it is given, and for which sources.
pub(crate) struct RoleChoice {
    pub name: &'static str,
    pub title: &'static str,
    pub opens: &'static str,
    pub given: bool,
    pub error: Option<String>,
    /// For roles on sources or functions.
    pub sources: Option<Picker>,
}

/// The sources of a role: those selected, and those found by the search.
pub(crate) struct Picker {
    /// Whether the role is for selected sources only.
    pub listed: bool,
    pub things: &'static str,
    pub chosen: usize,
    /// Selected sources that the search did not find.
    pub others: Vec<Pick>,
    /// IDs of selected sources without a checkbox, and their number.
    pub kept: String,
    pub kept_count: usize,
    pub q: String,
    /// Whether the member searched in this role.
    pub asked: bool,
    pub found: Vec<Pick>,
    /// The cursor of the next page of results, if there is one.
    pub last: Option<String>,
    /// Whether the search stopped before it had looked at every name.
    pub stopped: bool,
}

/// A source with a checkbox.
pub(crate) struct Pick {
    pub id: String,
    pub name: String,
    pub kind: &'static str,
    pub chosen: bool,
}

impl Pick {
    fn of(source: &Source, chosen: bool) -> Self {
        Self {
            id: source.id.to_string(),
            name: source.name.to_string(),
            kind: kind_words(source.kind),
            chosen,
        }
    }
}

/// The roles that a form starts from: those of the member, or those submitted.
pub(crate) struct Given<'a> {
    pub held: Option<&'a Grants>,
    pub typed: Option<&'a Fields>,
    pub problems: &'a Problems,
}

/// One role of the form.
#[derive(Default)]
struct Choice {
    given: bool,
    listed: bool,
    ids: Vec<String>,
}

impl Choice {
    fn typed(fields: &Fields, role: &str) -> Self {
        Self {
            given: fields.ticked(&format!("role.{role}")),
            listed: fields.text(&format!("which.{role}")) == "listed",
            ids: chosen_of(fields, role),
        }
    }

    fn held(grants: Option<&Grants>, role: Role) -> Self {
        let grant = grants.and_then(|held| held.iter().find(|grant| grant.role == role));
        match grant.map(|grant| &grant.resources) {
            None => Self::default(),
            Some(Assigned::All) => Self {
                given: true,
                ..Self::default()
            },
            Some(Assigned::Listed(ids)) => Self {
                given: true,
                listed: true,
                ids: ids.iter().map(ToString::to_string).collect(),
            },
        }
    }
}

/// The IDs of the sources selected for a role: ticked checkboxes, and sources without a checkbox.
fn chosen_of(fields: &Fields, role: &str) -> Vec<String> {
    let mut ids = fields.ticked_of(&format!("pick.{role}."));
    let kept = fields.text(&format!("kept.{role}")).split_whitespace();
    for id in kept {
        if !ids.iter().any(|held| held == id) {
            ids.push(id.to_owned());
        }
    }
    ids
}

/// Whether the form is a search instead of a save. The Enter key submits it as well: with a search text it is a search.
pub(crate) fn is_search(fields: &Fields) -> bool {
    let typed = |role: Role| !fields.text(&format!("q.{}", role.as_str())).is_empty();
    ["find", "more"].iter().any(|name| fields.ticked(name))
        || fields.ticked("enter") && Role::ALL.into_iter().any(typed)
}

const fn allows(role: Role) -> &'static str {
    match role {
        Role::WorkspaceOwner => "Full access to OAuth apps, sources, members and the audit trail.",
        Role::WorkspaceMember => "Can sign in, with no access to OAuth apps or sources.",
        Role::SourceAdmin => "Can edit OAuth apps and connect, observe and enforce selected sources.",
        Role::SourceReadOnly => "Can view OAuth apps and selected sources.",
        Role::FunctionAdmin => {
            "Can edit OAuth apps and connect, observe and enforce selected source functions."
        }
        Role::FunctionReadOnly => "Can view OAuth apps and selected source functions.",
    }
}

/// The roles of a form. Problems name them `roles[n]` in the order of submission.
pub(crate) async fn role_choices(
    control: &Control,
    visit: &PageContext,
    given: &Given<'_>,
) -> Result<Vec<RoleChoice>, Fault> {
    let mut sent = 0;
    let mut choices = Vec::new();
    for role in Role::ALL {
        let choice = match given.typed {
            Some(fields) => Choice::typed(fields, role.as_str()),
            None => Choice::held(given.held, role),
        };
        let problem = |part: &str| given.problems.of_field(&format!("roles[{sent}].{part}"));
        let error = if choice.given {
            problem("resources").or_else(|| problem("role"))
        } else {
            None
        };
        let error = error.map(sentence);
        sent += usize::from(choice.given);
        choices.push(RoleChoice {
            name: role.as_str(),
            title: role.title(),
            opens: allows(role),
            given: choice.given,
            error,
            sources: if role.is_for_sources() {
                Some(picker(control, visit, role, choice, given.typed).await?)
            } else {
                None
            },
        });
    }
    Ok(choices)
}

/// The sources of a role, with the results of its search.
async fn picker(
    control: &Control,
    visit: &PageContext,
    role: Role,
    choice: Choice,
    typed: Option<&Fields>,
) -> Result<Picker, Fault> {
    let name = role.as_str();
    let text = |field: &str| typed.map(|fields| fields.text(field)).unwrap_or_default();
    let q = text(&format!("q.{name}")).to_owned();
    let turned = text("more") == name;
    let last = text(&format!("last.{name}"));
    let after = if turned { last } else { "" };
    let Found {
        items: mut sources,
        searched_to,
        ..
    } = find(control, visit, role, &q, after).await?;
    let is_more = sources.len() > FOUND_SHOWN;
    sources.truncate(FOUND_SHOWN);
    let stopped = searched_to.is_some();
    let last = sources
        .last()
        .filter(|_| is_more)
        .map(|source| source.id.to_string());
    let is_chosen = |source: &Source| choice.ids.iter().any(|id| id == source.id.as_str());
    let found: Vec<Pick> = sources
        .iter()
        .map(|source| Pick::of(source, is_chosen(source)))
        .collect();
    let mut rest = choice
        .ids
        .iter()
        .filter(|id| !found.iter().any(|pick| pick.id == **id));
    let mut others = Vec::new();
    for id in rest.by_ref().take(CHOSEN_SHOWN) {
        others.push(chosen(control, visit, id).await?);
    }
    let kept: Vec<&str> = rest.map(String::as_str).collect();
    Ok(Picker {
        listed: choice.listed,
        things: if role.reaches(SourceKind::SourceFunction) {
            "source functions"
        } else {
            "sources"
        },
        chosen: choice.ids.len(),
        others,
        kept_count: kept.len(),
        kept: kept.join(" "),
        asked: turned || text("find") == name,
        q,
        found,
        last: last.or(searched_to),
        stopped,
    })
}

/// The sources that a role may be for. One more than is shown tells that there is a next page.
async fn find(
    control: &Control,
    visit: &PageContext,
    role: Role,
    text: &str,
    after: &str,
) -> Result<Found<Source>, Fault> {
    let functions = role.reaches(SourceKind::SourceFunction);
    let filter = SourceFilter {
        text,
        kind: functions.then_some(SourceKind::SourceFunction),
        but_kind: (!functions).then_some(SourceKind::SourceFunction),
        ..SourceFilter::default()
    };
    let limit = u32::try_from(FOUND_SHOWN).unwrap_or(u32::MAX) + 1;
    let span = Span { after, limit };
    let found = control
        .search
        .find_sources(&visit.actor, &visit.workspace.id, &filter, span)
        .await?;
    Ok(Found {
        items: found.items.into_iter().map(|item| item.source).collect(),
        searched_to: found.searched_to,
        names: found.names,
    })
}

/// A selected source. One that is not in the workspace is shown by its ID: saving reports it.
async fn chosen(control: &Control, visit: &PageContext, id: &str) -> Result<Pick, Fault> {
    let unknown = Pick {
        id: id.to_owned(),
        name: id.to_owned(),
        kind: "not in this workspace",
        chosen: true,
    };
    let Ok(parsed) = SourceId::parse(id) else {
        return Ok(unknown);
    };
    match control
        .sources
        .get(&visit.actor, &visit.workspace.id, &parsed)
        .await
    {
        Ok(source) => Ok(Pick::of(&source, true)),
        Err(ControlError::NotFound(_)) => Ok(unknown),
        Err(error) => Err(error.into()),
    }
}

/// The roles that a form submits.
pub(crate) fn grants_of(fields: &Fields) -> Vec<NewGrant> {
    let given = Role::ALL
        .into_iter()
        .filter(|role| fields.ticked(&format!("role.{}", role.as_str())));
    let grant = |role: Role| {
        let choice = Choice::typed(fields, role.as_str());
        let resources = if choice.listed {
            NewResources::Listed(choice.ids)
        } else {
            NewResources::Word("all".to_owned())
        };
        NewGrant {
            role: role.as_str().to_owned(),
            resources: role.is_for_sources().then_some(resources),
        }
    };
    given.map(grant).collect()
}
