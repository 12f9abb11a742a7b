//! Roles: who may do what in a workspace, as one pure function.

use super::ids::SourceId;
use super::source_kind::SourceKind;

/// The most sources that one grant may list.
pub const LISTED_MAX: usize = 1_000;

/// What a member is. Roles add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    WorkspaceOwner,
    WorkspaceMember,
    SourceAdmin,
    SourceReadOnly,
    FunctionAdmin,
    FunctionReadOnly,
}

impl Role {
    /// Every role, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::WorkspaceOwner,
        Self::WorkspaceMember,
        Self::SourceAdmin,
        Self::SourceReadOnly,
        Self::FunctionAdmin,
        Self::FunctionReadOnly,
    ];

    /// The name in the API and the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WorkspaceOwner => "workspace_owner",
            Self::WorkspaceMember => "workspace_member",
            Self::SourceAdmin => "source_admin",
            Self::SourceReadOnly => "source_read_only",
            Self::FunctionAdmin => "function_admin",
            Self::FunctionReadOnly => "function_read_only",
        }
    }

    /// The name that people read.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::WorkspaceOwner => "Workspace Owner",
            Self::WorkspaceMember => "Workspace Member",
            Self::SourceAdmin => "Source Admin",
            Self::SourceReadOnly => "Source Read-only",
            Self::FunctionAdmin => "Function Admin",
            Self::FunctionReadOnly => "Function Read-only",
        }
    }

    /// The role with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// Whether the role is for sources or functions, all of them or a listed set, and not for the workspace.
    #[must_use]
    pub const fn is_for_sources(self) -> bool {
        !matches!(self, Self::WorkspaceOwner | Self::WorkspaceMember)
    }

    /// Whether the role reaches sources of this kind at all, listed or not.
    #[must_use]
    pub const fn reaches(self, kind: SourceKind) -> bool {
        let function = matches!(kind, SourceKind::SourceFunction);
        match self {
            Self::WorkspaceOwner => true,
            Self::WorkspaceMember => false,
            Self::SourceAdmin | Self::SourceReadOnly => !function,
            Self::FunctionAdmin | Self::FunctionReadOnly => function,
        }
    }
}

/// Which sources a grant is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// Every source that the role reaches, those made later included.
    All,
    /// These alone.
    Listed(Vec<SourceId>),
}

impl Assigned {
    fn holds(&self, id: &SourceId) -> bool {
        match self {
            Self::All => true,
            Self::Listed(ids) => ids.contains(id),
        }
    }
}

/// A role, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub role: Role,
    pub resources: Assigned,
}

/// Everything that one member was granted in one workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(Vec<Grant>);

impl Grants {
    /// What an owner has.
    #[must_use]
    pub fn owner() -> Self {
        Self(vec![Grant {
            role: Role::WorkspaceOwner,
            resources: Assigned::All,
        }])
    }

    /// Whether the owner's role is among them.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        self.has(Role::WorkspaceOwner)
    }

    /// The grants, in the order they were given.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }

    /// Which sources of a kind the member may view.
    #[must_use]
    pub fn view_of(&self, kind: SourceKind) -> View {
        let mut view = View::None;
        for grant in self.0.iter().filter(|grant| grant.role.reaches(kind)) {
            if grant.resources == Assigned::All {
                return View::All;
            }
            view = View::Listed;
        }
        view
    }

    fn has(&self, role: Role) -> bool {
        self.0.iter().any(|grant| grant.role == role)
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        Self(grants.into_iter().collect())
    }
}

/// How much of the sources of one kind a member may view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    None,
    /// Those that a grant lists.
    Listed,
    All,
}

/// What an actor wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// See that the workspace exists, and its name.
    ViewWorkspace,
    /// Change the workspace's own settings.
    EditWorkspace,
    /// Make a further workspace.
    CreateWorkspace,
    /// See, invite, change and remove members.
    ManageMembers,
    /// Read the audit trail.
    ViewAudit,
    /// See, make and delete one's own API tokens.
    ManageOwnTokens,
    ViewApp,
    CreateApp,
    /// Change an app, its keys and its tokens, or delete it.
    EditApp,
    ViewSource,
    CreateSource,
    /// Rename or delete a source.
    EditSource,
    /// Connect a source to an app, or disconnect it.
    ConnectSource,
    /// Switch enforcement of a source.
    EnforceSource,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 14] = [
        Self::ViewWorkspace,
        Self::EditWorkspace,
        Self::CreateWorkspace,
        Self::ManageMembers,
        Self::ViewAudit,
        Self::ManageOwnTokens,
        Self::ViewApp,
        Self::CreateApp,
        Self::EditApp,
        Self::ViewSource,
        Self::CreateSource,
        Self::EditSource,
        Self::ConnectSource,
        Self::EnforceSource,
    ];

    /// The roles that allow it, for the sentence that says whom to ask.
    #[must_use]
    pub const fn allowed_to(self) -> &'static str {
        match self {
            Self::ViewWorkspace | Self::ManageOwnTokens => "a member of the workspace",
            Self::EditWorkspace
            | Self::CreateWorkspace
            | Self::ManageMembers
            | Self::ViewAudit
            | Self::CreateApp
            | Self::CreateSource
            | Self::EditSource => "a Workspace Owner",
            Self::ViewApp => "a Workspace Owner or any source or function role",
            Self::EditApp => "a Workspace Owner, a Source Admin or a Function Admin",
            Self::ViewSource => "a Workspace Owner, or a source or function role for this source",
            Self::ConnectSource | Self::EnforceSource => {
                "a Workspace Owner, or a Source Admin (a Function Admin for functions) of this source"
            }
        }
    }
}

/// What it is to be done to. All of it lies in one workspace, the member's own: that is checked before.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    /// The workspace, its members, its audit trail and everything in it that is not assigned one by one.
    Workspace,
    /// One source.
    Source { id: &'a SourceId, kind: SourceKind },
}

/// Whether a member with these grants may do `action` to `resource` in their workspace.
///
/// Roles add up: one grant that allows it is enough. An action on one source is allowed for the workspace as
/// a whole to nobody but an owner.
#[must_use]
pub fn may(member: &Grants, action: Action, resource: Resource<'_>) -> bool {
    match action {
        Action::ViewWorkspace | Action::ManageOwnTokens => true,
        _ => member.iter().any(|grant| allows(grant, action, resource)),
    }
}

fn allows(grant: &Grant, action: Action, resource: Resource<'_>) -> bool {
    let assigned = match resource {
        Resource::Workspace => false,
        Resource::Source { id, kind } => grant.role.reaches(kind) && grant.resources.holds(id),
    };
    match grant.role {
        Role::WorkspaceOwner => true,
        Role::WorkspaceMember => false,
        Role::SourceAdmin | Role::FunctionAdmin => match action {
            Action::ViewApp | Action::EditApp => true,
            Action::ViewSource | Action::ConnectSource | Action::EnforceSource => assigned,
            _ => false,
        },
        Role::SourceReadOnly | Role::FunctionReadOnly => match action {
            Action::ViewApp => true,
            Action::ViewSource => assigned,
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each role may do, written out by hand: for the workspace, for a source that is assigned, for a
    /// source that is not, for a function that is assigned, for a function that is not.
    /// The columns of a role: `w` allowed, `-` not.
    ///
    /// Order of the columns: owner, member, source admin, source read-only, function admin, function read-only.
    #[rustfmt::skip]
    const TABLE: [(Action, [(On, &str); 5]); 14] = {
        use Action::*;
        use On::*;
        [
            (ViewWorkspace,   [(Whole, "yyyyyy"), (Source, "yyyyyy"), (OtherSource, "yyyyyy"), (Function, "yyyyyy"), (OtherFunction, "yyyyyy")]),
            (EditWorkspace,   [(Whole, "y-----"), (Source, "y-----"), (OtherSource, "y-----"), (Function, "y-----"), (OtherFunction, "y-----")]),
            (CreateWorkspace, [(Whole, "y-----"), (Source, "y-----"), (OtherSource, "y-----"), (Function, "y-----"), (OtherFunction, "y-----")]),
            (ManageMembers,   [(Whole, "y-----"), (Source, "y-----"), (OtherSource, "y-----"), (Function, "y-----"), (OtherFunction, "y-----")]),
            (ViewAudit,       [(Whole, "y-----"), (Source, "y-----"), (OtherSource, "y-----"), (Function, "y-----"), (OtherFunction, "y-----")]),
            (ManageOwnTokens, [(Whole, "yyyyyy"), (Source, "yyyyyy"), (OtherSource, "yyyyyy"), (Function, "yyyyyy"), (OtherFunction, "yyyyyy")]),
            (ViewApp,         [(Whole, "y-yyyy"), (Source, "y-yyyy"), (OtherSource, "y-yyyy"), (Function, "y-yyyy"), (OtherFunction, "y-yyyy")]),
            (CreateApp,       [(Whole, "y-----"), (Source, "y-----"), (OtherSource, "y-----"), (Function, "y-----"), (OtherFunction, "y-----")]),
            (EditApp,         [(Whole, "y-y-y-"), (Source, "y-y-y-"), (OtherSource, "y-y-y-"), (Function, "y-y-y-"), (OtherFunction, "y-y-y-")]),
            (ViewSource,      [(Whole, "y-----"), (Source, "y-yy--"), (OtherSource, "y-----"), (Function, "y---yy"), (OtherFunction, "y-----")]),
            (CreateSource,    [(Whole, "y-----"), (Source, "y-----"), (OtherSource, "y-----"), (Function, "y-----"), (OtherFunction, "y-----")]),
            (EditSource,      [(Whole, "y-----"), (Source, "y-----"), (OtherSource, "y-----"), (Function, "y-----"), (OtherFunction, "y-----")]),
            (ConnectSource,   [(Whole, "y-----"), (Source, "y-y---"), (OtherSource, "y-----"), (Function, "y---y-"), (OtherFunction, "y-----")]),
            (EnforceSource,   [(Whole, "y-----"), (Source, "y-y---"), (OtherSource, "y-----"), (Function, "y---y-"), (OtherFunction, "y-----")]),
        ]
    };

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum On {
        Whole,
        Source,
        OtherSource,
        Function,
        OtherFunction,
    }

    fn id(text: &str) -> SourceId {
        SourceId::parse(text).unwrap()
    }

    /// Asks `may` for every kind of source that `on` stands for; the answers agree.
    fn asked(grants: &Grants, action: Action, on: On) -> bool {
        let (name, functions) = match on {
            On::Whole => return may(grants, action, Resource::Workspace),
            On::Source => ("src_mine", false),
            On::OtherSource => ("src_other", false),
            On::Function => ("src_mine", true),
            On::OtherFunction => ("src_other", true),
        };
        let id = id(name);
        let kinds = SourceKind::ALL
            .into_iter()
            .filter(|kind| (*kind == SourceKind::SourceFunction) == functions);
        let mut answers: Vec<bool> = kinds
            .map(|kind| may(grants, action, Resource::Source { id: &id, kind }))
            .collect();
        answers.dedup();
        assert_eq!(answers.len(), 1, "{grants:?} {action:?} {on:?}");
        answers[0]
    }

    fn listed(role: Role) -> Grant {
        let resources = if role.is_for_sources() {
            Assigned::Listed(vec![id("src_first"), id("src_mine")])
        } else {
            Assigned::All
        };
        Grant { role, resources }
    }

    fn by_hand(action: Action, on: On, role: Role) -> bool {
        let (_, rows) = TABLE.iter().find(|(held, _)| *held == action).unwrap();
        let (_, columns) = rows.iter().find(|(held, _)| *held == on).unwrap();
        let column = Role::ALL.iter().position(|held| *held == role).unwrap();
        columns.as_bytes()[column] == b'y'
    }

    const PLACES: [On; 5] = [
        On::Whole,
        On::Source,
        On::OtherSource,
        On::Function,
        On::OtherFunction,
    ];

    #[test]
    fn every_role_may_do_what_the_table_says_and_nothing_else() {
        for role in Role::ALL {
            let grants: Grants = [listed(role)].into_iter().collect();
            for action in Action::ALL {
                for on in PLACES {
                    let expected = by_hand(action, on, role);
                    assert_eq!(asked(&grants, action, on), expected, "{role:?} {action:?} {on:?}");
                }
            }
        }
    }

    #[test]
    fn role_for_all_sources_allows_what_a_listed_role_allows() {
        for role in Role::ALL.into_iter().filter(|role| role.is_for_sources()) {
            let grant = Grant {
                role,
                resources: Assigned::All,
            };
            let grants: Grants = [grant].into_iter().collect();
            for action in Action::ALL {
                for (on, like) in [
                    (On::Source, On::Source),
                    (On::OtherSource, On::Source),
                    (On::Function, On::Function),
                    (On::OtherFunction, On::Function),
                    (On::Whole, On::Whole),
                ] {
                    let expected = by_hand(action, like, role);
                    assert_eq!(asked(&grants, action, on), expected, "{role:?} {action:?} {on:?}");
                }
            }
        }
    }

    #[test]
    fn roles_add_up_and_none_of_them_takes_away() {
        for one in Role::ALL {
            for other in Role::ALL {
                let both: Grants = [listed(one), listed(other)].into_iter().collect();
                for action in Action::ALL {
                    for on in PLACES {
                        let expected = by_hand(action, on, one) || by_hand(action, on, other);
                        assert_eq!(
                            asked(&both, action, on),
                            expected,
                            "{one:?} {other:?} {action:?} {on:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn member_without_grant_sees_only_the_workspace() {
        let none = Grants::default();
        for action in Action::ALL {
            let allowed = matches!(action, Action::ViewWorkspace | Action::ManageOwnTokens);
            for on in PLACES {
                assert_eq!(asked(&none, action, on), allowed, "{action:?} {on:?}");
            }
        }
    }

    #[test]
    fn what_is_viewed_in_lists_is_what_may_be_viewed_one_by_one() {
        for role in Role::ALL {
            for resources in [Assigned::All, Assigned::Listed(vec![id("src_mine")])] {
                let grant = Grant { role, resources };
                if !role.is_for_sources() && grant.resources != Assigned::All {
                    continue;
                }
                let grants: Grants = [grant].into_iter().collect();
                for kind in SourceKind::ALL {
                    let sees = |name| {
                        let resource = Resource::Source { id: &id(name), kind };
                        may(&grants, Action::ViewSource, resource)
                    };
                    let expected = match (sees("src_mine"), sees("src_other")) {
                        (true, true) => View::All,
                        (true, false) => View::Listed,
                        (false, _) => View::None,
                    };
                    assert_eq!(grants.view_of(kind), expected, "{grants:?} {kind:?}");
                }
            }
        }
    }

    #[test]
    fn roles_are_found_by_their_names() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        assert_eq!(Role::parse("Workspace Owner"), None);
    }
}
