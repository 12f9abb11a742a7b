//! Makes the changes of a plan, one after the other.

use super::author::AUTHOR;
use super::current::Current;
use super::plan::{Change, Link, Plan};
use super::resources::{Resource, resource};
use super::wanted::{Wanted, WantedApp, WantedKey, WantedMember};
use crate::cli::admin::store_access::refused;
use crate::cli::failure::Failure;
use crate::control::{
    AppChange, Control, ControlError, NewApp, NewAppKey, NewGrant, NewResources, NewSource,
};
use crate::domain::ids::{AppId, SourceId, WorkspaceId};
use crate::domain::scope::Scope;

/// Makes the changes. Each is printed when it is made.
///
/// # Errors
/// The first that fails ends the run; those before it stay.
pub(super) async fn run(
    control: &Control,
    current: &Current,
    wanted: &Wanted,
    plan: &Plan,
) -> Result<(), Failure> {
    let mut applying = Applying {
        control,
        current,
        wanted,
        workspace: &current.workspace.id,
        apps: plan.apps.clone(),
        sources: plan.sources.clone(),
    };
    for (done, step) in plan.steps.iter().enumerate() {
        if let Err(error) = applying.change(&step.change).await {
            let failure = refused(error);
            eprintln!(
                "portcullis: {done} of {} changes were made; this one failed: {}",
                plan.steps.len(),
                step.words
            );
            return Err(failure);
        }
        println!("done: {}", step.words);
    }
    println!("A `portcullis serve` that runs on this store takes the changes over within two seconds.");
    Ok(())
}

struct Applying<'a> {
    control: &'a Control,
    current: &'a Current,
    wanted: &'a Wanted,
    workspace: &'a WorkspaceId,
    apps: Vec<Option<AppId>>,
    sources: Vec<Option<SourceId>>,
}

const MISSING: ControlError = ControlError::NotFound("entry of the file");

impl Applying<'_> {
    async fn change(&mut self, change: &Change) -> Result<(), ControlError> {
        match change {
            Change::CreateApp(at) => self.create_app(*at).await,
            Change::CreateSource(at) => self.create_source(*at).await,
            Change::UpdateApp(..) | Change::DeleteKey(..) | Change::AddKey(..) => {
                self.change_app(change).await
            }
            Change::AddMember(..) | Change::UpdateMember(..) => self.change_member(change).await,
            Change::RenameSource(at)
            | Change::Connect(at, _)
            | Change::Disconnect(at)
            | Change::Enforce(at, _) => self.change_source(*at, change).await,
        }
    }

    async fn change_app(&self, change: &Change) -> Result<(), ControlError> {
        let (apps, workspace) = (&self.control.apps, self.workspace);
        match change {
            Change::UpdateApp(at) => {
                let (app, id) = (self.wanted_app(*at)?, self.app(*at)?);
                let change = AppChange {
                    name: Some(app.name.as_str().to_owned()),
                    scopes: Some(scopes(app)),
                    token_lifetime: app.lifetime.map(|lifetime| lifetime.as_str().to_owned()),
                };
                apps.update(&AUTHOR, workspace, &id, change).await.map(drop)
            }
            Change::DeleteKey(at, key) => {
                let id = self.app(*at)?;
                apps.delete_key(&AUTHOR, workspace, &id, key, true).await
            }
            Change::AddKey(at, number) => {
                let id = self.app(*at)?;
                let key = self.wanted_app(*at)?.keys.get(*number).ok_or(MISSING)?;
                apps.add_key(&AUTHOR, workspace, &id, &new_key(key))
                    .await
                    .map(drop)
            }
            _ => Err(MISSING),
        }
    }

    async fn change_source(&self, at: usize, change: &Change) -> Result<(), ControlError> {
        let (sources, workspace, id) = (&self.control.sources, self.workspace, self.source(at)?);
        let changed = match change {
            Change::RenameSource(_) => {
                let name = self.wanted.sources.get(at).ok_or(MISSING)?.name.as_str();
                sources.rename(&AUTHOR, workspace, &id, name).await
            }
            Change::Connect(_, link) => {
                let app = match link {
                    Link::File(app) => self.app(*app)?,
                    Link::Stored(id) => id.clone(),
                };
                sources.connect(&AUTHOR, workspace, &id, &app).await
            }
            Change::Disconnect(_) => sources.disconnect(&AUTHOR, workspace, &id, false).await,
            Change::Enforce(_, mode) => sources.set_enforcement(&AUTHOR, workspace, &id, *mode).await,
            _ => Err(MISSING),
        };
        changed.map(drop)
    }

    async fn change_member(&self, change: &Change) -> Result<(), ControlError> {
        let (members, workspace) = (&self.control.members, self.workspace);
        match change {
            Change::AddMember(at) => {
                let member = self.wanted.members.get(*at).ok_or(MISSING)?;
                let roles = self.roles(member)?;
                members
                    .create_member(&AUTHOR, workspace, &member.email, &roles)
                    .await
                    .map(drop)
            }
            Change::UpdateMember(at, id) => {
                let roles = self.roles(self.wanted.members.get(*at).ok_or(MISSING)?)?;
                members.update(&AUTHOR, workspace, id, &roles).await.map(drop)
            }
            _ => Err(MISSING),
        }
    }

    async fn create_app(&mut self, at: usize) -> Result<(), ControlError> {
        let app = self.wanted_app(at)?;
        let shortest = crate::domain::time::TokenLifetime::OneDay;
        let new = NewApp {
            name: app.name.as_str().to_owned(),
            scopes: scopes(app),
            token_lifetime: app.lifetime.unwrap_or(shortest).as_str().to_owned(),
            public_key: new_key(app.keys.first().ok_or(MISSING)?),
        };
        let made = self.control.apps.create(&AUTHOR, self.workspace, new).await?;
        if let Some(place) = self.apps.get_mut(at) {
            *place = Some(made.app.id);
        }
        Ok(())
    }

    async fn create_source(&mut self, at: usize) -> Result<(), ControlError> {
        let source = self.wanted.sources.get(at).ok_or(MISSING)?;
        let new = NewSource {
            name: source.name.as_str().to_owned(),
            kind: source.kind.as_str().to_owned(),
            write_key: source.write_key.as_ref().map(|key| key.expose().to_owned()),
        };
        let made = self.control.sources.create(&AUTHOR, self.workspace, new).await?;
        if let Some(place) = self.sources.get_mut(at) {
            *place = Some(made.id);
        }
        Ok(())
    }

    fn wanted_app(&self, at: usize) -> Result<&WantedApp, ControlError> {
        self.wanted.apps.get(at).ok_or(MISSING)
    }

    fn app(&self, at: usize) -> Result<AppId, ControlError> {
        self.apps.get(at).cloned().flatten().ok_or(MISSING)
    }

    fn source(&self, at: usize) -> Result<SourceId, ControlError> {
        self.sources.get(at).cloned().flatten().ok_or(MISSING)
    }

    fn roles(&self, member: &WantedMember) -> Result<Vec<NewGrant>, ControlError> {
        let grants = member.roles.iter().map(|role| {
            let resources = match &role.resources {
                None if role.role.is_for_sources() => Some(NewResources::Word("all".to_owned())),
                None => None,
                Some(named) => Some(NewResources::Listed(self.resources(named)?)),
            };
            Ok(NewGrant {
                role: role.role.as_str().to_owned(),
                resources,
            })
        });
        grants.collect()
    }

    fn resources(&self, named: &[String]) -> Result<Vec<String>, ControlError> {
        let ids = named.iter().map(
            |named| match resource(self.current, self.wanted, &self.sources, named) {
                Ok(Resource::Stored(id)) => Ok(id.to_string()),
                Ok(Resource::File(_)) | Err(()) => Err(ControlError::NotFound("source")),
            },
        );
        ids.collect()
    }
}

fn scopes(app: &WantedApp) -> Vec<String> {
    app.scopes.iter().map(Scope::as_str).map(str::to_owned).collect()
}

fn new_key(key: &WantedKey) -> NewAppKey {
    NewAppKey {
        name: key.name.clone(),
        pem: key.pem.clone(),
        algorithm: Some(key.algorithm.as_str().to_owned()),
        expires_at: key.expires_at.clone(),
    }
}
