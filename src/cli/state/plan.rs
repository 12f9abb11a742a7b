//! The steps that lead from what a workspace holds to what a file says.

use super::current::Current;
use super::resources::{has_roles, resource, same_email};
use super::wanted::{Wanted, WantedApp, WantedMember, WantedSource};
use crate::control::AppDetails;
use crate::domain::ids::{AppId, KeyId, SourceId};
use crate::domain::policy::Enforcement;
use crate::model::member::Member;
use crate::model::source::Source;

/// What is to be done, and what is not touched.
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// What the workspace holds beyond the file.
    pub(super) left_alone: Vec<String>,
    /// The stored app of each app of the file; `None` for one to create.
    pub(super) apps: Vec<Option<AppId>>,
    /// The stored source of each source of the file.
    pub(super) sources: Vec<Option<SourceId>>,
}

/// One change.
pub(super) struct Step {
    /// A verb and its object: `create app ...`.
    pub(super) words: String,
    pub(super) change: Change,
}

/// What to change. Numbers are those of the file's entries.
pub(super) enum Change {
    CreateApp(usize),
    UpdateApp(usize),
    DeleteKey(usize, KeyId),
    AddKey(usize, usize),
    CreateSource(usize),
    RenameSource(usize),
    Connect(usize, Link),
    Disconnect(usize),
    Enforce(usize, Enforcement),
    AddMember(usize),
    UpdateMember(usize, crate::domain::ids::MemberId),
}

/// An app that a source names.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// Of the file, by number.
    File(usize),
    /// Of the workspace alone.
    Stored(AppId),
}

/// The plan.
///
/// # Errors
/// Every problem of the file that the workspace shows.
pub(super) fn plan(current: &Current, wanted: &Wanted) -> Result<Plan, Vec<String>> {
    let mut planning = Planning {
        current,
        wanted,
        problems: Vec::new(),
        steps: Vec::new(),
    };
    let apps = planning.match_apps();
    let sources = planning.match_sources();
    for (at, app) in wanted.apps.iter().enumerate() {
        let held = apps.get(at).cloned().flatten();
        planning.app(
            at,
            app,
            held.and_then(|id| current.apps.iter().find(|held| held.app.id == id)),
        );
    }
    for (at, source) in wanted.sources.iter().enumerate() {
        let held = sources.get(at).cloned().flatten();
        let held = held.and_then(|id| current.sources.iter().find(|held| held.id == id));
        planning.source(at, source, held, &apps);
    }
    for (at, member) in wanted.members.iter().enumerate() {
        planning.member(at, member, &sources);
    }
    let Planning { problems, steps, .. } = planning;
    match problems.is_empty() {
        true => Ok(Plan {
            left_alone: left_alone(current, wanted, &apps, &sources),
            steps,
            apps,
            sources,
        }),
        false => Err(problems),
    }
}

struct Planning<'p> {
    current: &'p Current,
    wanted: &'p Wanted,
    problems: Vec<String>,
    steps: Vec<Step>,
}

impl Planning<'_> {
    fn step(&mut self, words: String, change: Change) {
        self.steps.push(Step { words, change });
    }

    /// The stored entry of each of the file: by its id, or else by its name, which must then be one entry's alone.
    fn matched<I: Clone + AsRef<str>>(
        &mut self,
        kind: &str,
        wanted: &[(Option<&String>, &str)],
        held: &[(I, String)],
    ) -> Vec<Option<I>> {
        let mut matches = Vec::with_capacity(wanted.len());
        for (id, name) in wanted {
            let by_id = id.and_then(|id| held.iter().find(|(held, _)| held.as_ref() == id));
            let mut by_name = held.iter().filter(|(_, held)| held == name);
            let found = match (by_id, by_name.next(), by_name.next()) {
                (Some((id, _)), ..) | (None, Some((id, _)), None) => Some(id.clone()),
                (None, Some(_), Some(_)) => {
                    self.problems.push(format!(
                        "more than one {kind} is named `{name}`; give the `id` of the one you mean"
                    ));
                    None
                }
                (None, None, _) => None,
            };
            let is_taken =
                |one: &Option<I>| one.as_ref().map(AsRef::as_ref) == found.as_ref().map(AsRef::as_ref);
            if found.is_some() && matches.iter().any(is_taken) {
                self.problems
                    .push(format!("two entries are the {kind} `{name}`; give each its `id`"));
            }
            matches.push(found);
        }
        matches
    }

    fn match_apps(&mut self) -> Vec<Option<AppId>> {
        let wanted = self
            .wanted
            .apps
            .iter()
            .map(|app| (app.id.as_ref(), app.name.as_str()));
        let held = self.current.apps.iter();
        let held: Vec<_> = held
            .map(|held| (Text(held.app.id.clone()), held.app.name.as_str().to_owned()))
            .collect();
        let found = self.matched("app", &wanted.collect::<Vec<_>>(), &held);
        found.into_iter().map(|id| id.map(|Text(id)| id)).collect()
    }

    fn match_sources(&mut self) -> Vec<Option<SourceId>> {
        let wanted = self
            .wanted
            .sources
            .iter()
            .map(|source| (source.id.as_ref(), source.name.as_str()));
        let held = self.current.sources.iter();
        let held: Vec<_> = held
            .map(|held| (Text(held.id.clone()), held.name.as_str().to_owned()))
            .collect();
        let found = self.matched("source", &wanted.collect::<Vec<_>>(), &held);
        found.into_iter().map(|id| id.map(|Text(id)| id)).collect()
    }

    fn app(&mut self, at: usize, app: &WantedApp, held: Option<&AppDetails>) {
        let name = app.name.as_str();
        let Some(held) = held else {
            if app.keys.is_empty() {
                self.problems.push(format!(
                    "app `{name}`: a new app needs a key; add one under `keys:`"
                ));
            }
            self.step(format!("create app `{name}`"), Change::CreateApp(at));
            for (number, key) in app.keys.iter().enumerate().skip(1) {
                self.step(
                    format!("add key `{}` to app `{name}`", key.name),
                    Change::AddKey(at, number),
                );
            }
            return;
        };
        let mut changed = Vec::new();
        if held.app.name != app.name {
            changed.push(format!("its name `{}`", held.app.name.as_str()));
        }
        if !held.app.scopes.covers_all(&app.scopes) || !app.scopes.covers_all(&held.app.scopes) {
            changed.push("its scopes".to_owned());
        }
        if app
            .lifetime
            .is_some_and(|lifetime| lifetime != held.app.token_lifetime)
        {
            changed.push("its token lifetime".to_owned());
        }
        if !changed.is_empty() {
            self.step(
                format!("change app `{name}`: {}", changed.join(", ")),
                Change::UpdateApp(at),
            );
        }
        let is_wanted = |thumbprint: &str| app.keys.iter().any(|key| key.thumbprint == thumbprint);
        for key in held.keys.iter().filter(|key| !is_wanted(&key.thumbprint)) {
            self.step(
                format!(
                    "delete key `{}` of app `{name}`, and end the tokens that it requested",
                    key.name.as_str()
                ),
                Change::DeleteKey(at, key.id.clone()),
            );
        }
        for (number, key) in app.keys.iter().enumerate() {
            if !held.keys.iter().any(|held| held.thumbprint == key.thumbprint) {
                self.step(
                    format!("add key `{}` to app `{name}`", key.name),
                    Change::AddKey(at, number),
                );
            }
        }
    }

    /// The app that a source names, by id or name: of the file, or else of the workspace.
    fn link(&mut self, source: &str, named: &str) -> Option<Link> {
        let is_named = |app: &WantedApp| app.id.as_deref() == Some(named) || app.name.as_str() == named;
        let mut of_file = self
            .wanted
            .apps
            .iter()
            .enumerate()
            .filter(|(_, app)| is_named(app));
        match (of_file.next(), of_file.next()) {
            (Some((at, _)), None) => return Some(Link::File(at)),
            (Some(_), Some(_)) => {
                self.problems.push(format!(
                    "source `{source}`: more than one app is named `{named}`; give its id"
                ));
                return None;
            }
            (None, _) => {}
        }
        let is_held = |held: &&AppDetails| held.app.id.as_str() == named || held.app.name.as_str() == named;
        let mut held = self.current.apps.iter().filter(is_held);
        match (held.next(), held.next()) {
            (Some(held), None) => Some(Link::Stored(held.app.id.clone())),
            _ => {
                self.problems.push(format!(
                    "source `{source}`: app `{named}` not found; add it under `apps:`, or give its id"
                ));
                None
            }
        }
    }

    fn source(&mut self, at: usize, source: &WantedSource, held: Option<&Source>, apps: &[Option<AppId>]) {
        let name = source.name.as_str();
        let link = source.app.as_deref().map(|named| self.link(name, named));
        let Some(link) = link.map_or(Some(None), |link| link.map(Some)) else {
            return;
        };
        self.check_scope(source, link.as_ref());
        match held {
            None => self.step(format!("create source `{name}`"), Change::CreateSource(at)),
            Some(held) => self.check_held(source, held),
        }
        if held.is_some_and(|held| held.name != source.name) {
            self.step(format!("rename source to `{name}`"), Change::RenameSource(at));
        }
        let connected = held.and_then(|held| held.app.clone());
        let wanted = link.as_ref().map(|link| match link {
            Link::File(app) => apps.get(*app).cloned().flatten(),
            Link::Stored(id) => Some(id.clone()),
        });
        let mode = held.map(|held| held.enforcement).unwrap_or_default();
        // What weakens enforcement comes before what takes its app away, and what strengthens it after the app is there.
        if source.enforcement == Enforcement::Off && mode != Enforcement::Off {
            self.step(
                format!("set enforcement of source `{name}` to off"),
                Change::Enforce(at, Enforcement::Off),
            );
        }
        match (wanted, link) {
            (Some(wanted), Some(link)) if wanted.is_none() || wanted != connected => {
                let app = source.app.as_deref().unwrap_or_default();
                self.step(
                    format!("connect source `{name}` to app `{app}`"),
                    Change::Connect(at, link),
                );
            }
            (None, _) if connected.is_some() => {
                self.step(
                    format!("disconnect source `{name}` from its app"),
                    Change::Disconnect(at),
                );
            }
            _ => {}
        }
        if source.enforcement != Enforcement::Off && source.enforcement != mode {
            let word = source.enforcement.as_str();
            self.step(
                format!("set enforcement of source `{name}` to {word}"),
                Change::Enforce(at, source.enforcement),
            );
        }
    }

    /// What cannot be changed about a source.
    fn check_held(&mut self, source: &WantedSource, held: &Source) {
        let name = source.name.as_str();
        if held.kind != source.kind {
            self.problems.push(format!(
                "source `{name}`: it is of kind `{}`, which cannot change; create another source",
                held.kind.as_str()
            ));
        }
        let wanted = source.write_key.as_ref().map(|key| key.expose());
        if wanted.is_some_and(|key| key != held.write_key.expose()) {
            self.problems.push(format!(
                "source `{name}`: its write key cannot change; leave `write_key` out"
            ));
        }
    }

    /// The app must have the scope that the source's kind needs.
    fn check_scope(&mut self, source: &WantedSource, link: Option<&Link>) {
        let scope = source.kind.scope();
        let scopes = match link {
            Some(Link::File(at)) => self.wanted.apps.get(*at).map(|app| &app.scopes),
            Some(Link::Stored(id)) => {
                let held = self.current.apps.iter().find(|held| held.app.id == *id);
                held.map(|held| &held.app.scopes)
            }
            None => return,
        };
        let has = scopes.is_some_and(|scopes| scopes.iter().any(|held| held.as_str() == scope));
        if !has {
            self.problems.push(format!(
                "source `{}`: its app lacks the scope `{scope}`, which a source of kind `{}` needs",
                source.name.as_str(),
                source.kind.as_str()
            ));
        }
    }

    fn member(&mut self, at: usize, member: &WantedMember, sources: &[Option<SourceId>]) {
        let email = &member.email;
        for named in member
            .roles
            .iter()
            .filter_map(|role| role.resources.as_ref())
            .flatten()
        {
            if resource(self.current, self.wanted, sources, named).is_err() {
                self.problems.push(format!(
                    "member `{}`: source `{}` not found",
                    email.escape_debug(),
                    named.escape_debug()
                ));
            }
        }
        let held = self
            .current
            .members
            .iter()
            .find(|held| same_email(&held.email, email));
        match held {
            None => self.step(
                format!("add member `{}`", email.escape_debug()),
                Change::AddMember(at),
            ),
            Some(held) if !has_roles(self.current, self.wanted, held, &member.roles, sources) => self.step(
                format!("change the roles of member `{}`", email.escape_debug()),
                Change::UpdateMember(at, held.id.clone()),
            ),
            Some(_) => {}
        }
    }
}

/// An id that is compared by its text.
#[derive(Clone)]
struct Text<I>(I);

impl AsRef<str> for Text<AppId> {
    fn as_ref(&self) -> &str {
        self.0.as_str()
    }
}

impl AsRef<str> for Text<SourceId> {
    fn as_ref(&self) -> &str {
        self.0.as_str()
    }
}

fn left_alone(
    current: &Current,
    wanted: &Wanted,
    apps: &[Option<AppId>],
    sources: &[Option<SourceId>],
) -> Vec<String> {
    let apps_left = current
        .apps
        .iter()
        .filter(|held| !apps.contains(&Some(held.app.id.clone())));
    let sources_left = current
        .sources
        .iter()
        .filter(|held| !sources.contains(&Some(held.id.clone())));
    let is_listed = |held: &&Member| {
        wanted
            .members
            .iter()
            .any(|member| same_email(&member.email, &held.email))
    };
    let members_left = current.members.iter().filter(|held| !is_listed(held));
    apps_left
        .map(|held| format!("app `{}` ({})", held.app.name.as_str(), held.app.id))
        .chain(sources_left.map(|held| format!("source `{}` ({})", held.name.as_str(), held.id)))
        .chain(members_left.map(|held| format!("member `{}`", held.email.escape_debug())))
        .collect()
}
