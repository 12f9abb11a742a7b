//! A state file, checked as far as that needs no store.

use std::collections::BTreeSet;

use crate::config::{
    SecretText, StateApp, StateFile, StateKey, StateMember, StateResources, StateRole, StateSource,
};
use crate::control::APP_KEYS_MAX;
use crate::domain::ids::WriteKey;
use crate::domain::key::{Algorithm, PublicKey};
use crate::domain::name::Name;
use crate::domain::policy::Enforcement;
use crate::domain::role::Role;
use crate::domain::scope::ScopeSet;
use crate::domain::source_kind::{SUPPORTED_SCOPES, SourceKind};
use crate::domain::time::TokenLifetime;

/// What a workspace is to hold.
pub(super) struct Wanted {
    pub(super) apps: Vec<WantedApp>,
    pub(super) sources: Vec<WantedSource>,
    pub(super) members: Vec<WantedMember>,
}

pub(super) struct WantedApp {
    pub(super) id: Option<String>,
    pub(super) name: Name,
    pub(super) scopes: ScopeSet,
    pub(super) lifetime: Option<TokenLifetime>,
    pub(super) keys: Vec<WantedKey>,
}

pub(super) struct WantedKey {
    pub(super) name: String,
    pub(super) pem: String,
    pub(super) algorithm: Algorithm,
    pub(super) thumbprint: String,
    /// RFC 3339, for a key that is added. A key that is there keeps its own.
    pub(super) expires_at: Option<String>,
}

pub(super) struct WantedSource {
    pub(super) id: Option<String>,
    pub(super) name: Name,
    pub(super) kind: SourceKind,
    pub(super) app: Option<String>,
    pub(super) enforcement: Enforcement,
    pub(super) write_key: Option<SecretText>,
}

pub(super) struct WantedMember {
    pub(super) email: String,
    pub(super) roles: Vec<WantedRole>,
}

pub(super) struct WantedRole {
    pub(super) role: Role,
    /// Ids or names of sources; `None` for all, and for roles that are not for sources.
    pub(super) resources: Option<Vec<String>>,
}

impl Wanted {
    /// The content of a file.
    ///
    /// # Errors
    /// Every problem in it.
    pub(super) fn of(file: StateFile) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let apps = file
            .apps
            .into_iter()
            .filter_map(|one| app(one, &mut problems))
            .collect();
        let sources = file
            .sources
            .into_iter()
            .filter_map(|one| source(one, &mut problems))
            .collect();
        let members = file
            .members
            .into_iter()
            .filter_map(|one| member(one, &mut problems))
            .collect();
        let wanted = Self {
            apps,
            sources,
            members,
        };
        wanted.repeated(&mut problems);
        match problems.is_empty() {
            true => Ok(wanted),
            false => Err(problems),
        }
    }

    /// Entries that name the same thing.
    fn repeated(&self, problems: &mut Vec<String>) {
        let apps = self
            .apps
            .iter()
            .map(|app| ("app", key(app.id.as_ref(), &app.name)));
        let sources = self
            .sources
            .iter()
            .map(|source| ("source", key(source.id.as_ref(), &source.name)));
        let members = self
            .members
            .iter()
            .map(|member| ("member", member.email.to_lowercase()));
        let mut seen = BTreeSet::new();
        for entry in apps.chain(sources).chain(members) {
            let (kind, name) = entry.clone();
            if !seen.insert(entry) {
                problems.push(format!("the {kind} `{name}` is repeated; keep one of the two"));
            }
        }
    }
}

fn key(id: Option<&String>, name: &Name) -> String {
    id.map_or_else(|| name.as_str().to_owned(), Clone::clone)
}

/// Notes the error of a result.
fn noted<T>(result: Result<T, String>, what: &str, problems: &mut Vec<String>) -> Option<T> {
    result
        .map_err(|problem| problems.push(format!("{what}: {problem}")))
        .ok()
}

fn name(text: &str, what: &str, problems: &mut Vec<String>) -> Option<Name> {
    noted(
        Name::parse(text).map_err(|error| format!("the name {error}")),
        what,
        problems,
    )
}

fn app(raw: StateApp, problems: &mut Vec<String>) -> Option<WantedApp> {
    let what = format!("app `{}`", raw.name);
    let name = name(&raw.name, &what, problems);
    let scopes = noted(scopes(&raw.scopes), &what, problems);
    let lifetime = raw.token_lifetime.map(|text| {
        let names = TokenLifetime::ALL.map(TokenLifetime::as_str).join(", ");
        let lifetime = TokenLifetime::parse(&text);
        noted(
            lifetime.ok_or_else(|| format!("unknown token_lifetime; choose one of {names}")),
            &what,
            problems,
        )
    });
    if raw.keys.len() > APP_KEYS_MAX {
        problems.push(format!("{what}: an app has at most {APP_KEYS_MAX} keys"));
    }
    let found = problems.len();
    let keys: Vec<WantedKey> = raw
        .keys
        .into_iter()
        .filter_map(|one| noted(public_key(one), &what, problems))
        .collect();
    let different: BTreeSet<&String> = keys.iter().map(|key| &key.thumbprint).collect();
    if different.len() != keys.len() {
        problems.push(format!("{what}: a key is repeated"));
    }
    let is_good = problems.len() == found && lifetime.as_ref().is_none_or(Option::is_some);
    is_good.then_some(())?;
    Some(WantedApp {
        id: raw.id,
        name: name?,
        scopes: scopes?,
        lifetime: lifetime.flatten(),
        keys,
    })
}

fn scopes(texts: &[String]) -> Result<ScopeSet, String> {
    let unknown = texts
        .iter()
        .find(|text| !SUPPORTED_SCOPES.contains(&text.as_str()));
    match (unknown, texts.is_empty()) {
        (Some(unknown), _) => Err(format!(
            "unknown scope `{}`; choose from {}",
            unknown.escape_debug(),
            SUPPORTED_SCOPES.join(", ")
        )),
        (None, true) => Err(format!("no scope; choose from {}", SUPPORTED_SCOPES.join(", "))),
        (None, false) => ScopeSet::parse(&texts.join(" ")).map_err(|error| error.to_string()),
    }
}

fn public_key(raw: StateKey) -> Result<WantedKey, String> {
    let what = format!("key `{}`", raw.name);
    Name::parse(&raw.name).map_err(|error| format!("{what}: the name {error}"))?;
    let public = PublicKey::from_pem(&raw.pem).map_err(|error| format!("{what}: {error}"))?;
    let algorithm = match &raw.algorithm {
        None => public.default_algorithm(),
        Some(text) => Algorithm::parse(text)
            .filter(|algorithm| public.fits(*algorithm))
            .ok_or_else(|| format!("{what}: `algorithm` does not fit the key"))?,
    };
    Ok(WantedKey {
        name: raw.name,
        thumbprint: public.thumbprint().to_string(),
        expires_at: raw.expires_at,
        pem: raw.pem,
        algorithm,
    })
}

fn source(raw: StateSource, problems: &mut Vec<String>) -> Option<WantedSource> {
    let what = format!("source `{}`", raw.name);
    let name = name(&raw.name, &what, problems);
    let kinds = SourceKind::ALL.map(SourceKind::as_str).join(", ");
    let kind = SourceKind::parse(&raw.kind).ok_or_else(|| format!("unknown kind; choose one of {kinds}"));
    let kind = noted(kind, &what, problems);
    let enforcement = raw.enforcement.as_deref().unwrap_or("off");
    let enforcement = Enforcement::parse(enforcement)
        .ok_or_else(|| "unknown enforcement; write \"off\", \"observe\" or \"on\"".to_owned());
    let enforcement = noted(enforcement, &what, problems);
    if enforcement.is_some_and(|mode| mode != Enforcement::Off) && raw.app.is_none() {
        problems.push(format!(
            "{what}: enforcement needs an app; connect one with `app:`"
        ));
    }
    if let Some(key) = &raw.key
        && let Err(error) = WriteKey::parse(key.expose())
    {
        problems.push(format!("{what}: the write key {error}"));
    }
    Some(WantedSource {
        id: raw.id,
        name: name?,
        kind: kind?,
        app: raw.app,
        enforcement: enforcement?,
        write_key: raw.key,
    })
}

fn member(raw: StateMember, problems: &mut Vec<String>) -> Option<WantedMember> {
    let what = format!("member `{}`", raw.email.escape_debug());
    if raw.roles.is_empty() {
        problems.push(format!("{what}: name at least one role"));
    }
    let found = problems.len();
    let roles = raw.roles.into_iter();
    let roles: Vec<WantedRole> = roles
        .filter_map(|one| noted(role(one), &what, problems))
        .collect();
    let different: BTreeSet<Role> = roles.iter().map(|one| one.role).collect();
    if different.len() != roles.len() {
        problems.push(format!(
            "{what}: a role is repeated; list all of its resources in one entry"
        ));
    }
    (problems.len() == found).then_some(WantedMember {
        email: raw.email,
        roles,
    })
}

fn role(raw: StateRole) -> Result<WantedRole, String> {
    let names = Role::ALL.map(Role::as_str).join(", ");
    let role = Role::parse(&raw.role).ok_or_else(|| format!("a role is one of {names}"))?;
    let resources = match (role.is_for_sources(), raw.resources) {
        (false, None) => None,
        (false, Some(_)) => return Err(format!("the role `{}` takes no `resources`", role.as_str())),
        (true, Some(StateResources::Word(word))) if word == "all" => None,
        (true, Some(StateResources::Listed(listed))) => Some(listed),
        (true, _) => {
            return Err(format!(
                "the role `{}` needs `resources`: all, or a list of sources",
                role.as_str()
            ));
        }
    };
    Ok(WantedRole { role, resources })
}
