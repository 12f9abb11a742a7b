//! The context of a page: the member of the session in the workspace of the path.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::response::Response;
use http::header;
use http::request::Parts;

use super::fault::Fault;
use super::fields::Fields;
use super::frame::see_other;
use super::frame::{Frame, NavPermissions, Section};
use super::notice::Flash;
use super::paths::WorkspacePaths;
use super::session::BrowserSession;
use crate::control::actor::{Actor, IfMatch};
use crate::control::error::ControlError;
use crate::control::form::Form;
use crate::control::http::cookies::Cookies;
use crate::control::plane::Control;
use crate::domain::decimal::canonical;
use crate::domain::ids::{AppId, KeyId, SourceId, WorkspaceId};
use crate::domain::role::{Action, Resource, View, may};
use crate::domain::source_kind::SourceKind;
use crate::domain::time::UnixSeconds;
use crate::model::member::Member;
use crate::model::page::Page;
use crate::model::source::Source;
use crate::model::workspace::Workspace;

/// A member's request in a workspace.
pub(crate) struct PageContext {
    pub actor: Actor,
    pub member: Member,
    pub workspace: Workspace,
    pub now: UnixSeconds,
    pub session: BrowserSession,
    /// Links to the pages of the workspace.
    pub to: WorkspacePaths,
    /// The notice that the page before left.
    pub flash: Option<Flash>,
    cookies: Cookies,
    several: bool,
    can_manage_edges: bool,
    parameters: Vec<(String, String)>,
    query: Form,
}

impl PageContext {
    pub(crate) async fn of(control: &Control, parts: &mut Parts) -> Result<Self, Fault> {
        let signed = BrowserSession::of(control, parts).await?;
        let parameters = RawPathParams::from_request_parts(parts, &()).await;
        let parameters = parameters.map_err(|_| Fault::Control(ControlError::NotFound("page")))?;
        let parameters: Vec<(String, String)> = parameters
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let id = parameters.iter().find(|(name, _)| name == "ws");
        let id = id.and_then(|(_, id)| WorkspaceId::parse(id).ok());
        let id = id.ok_or(ControlError::NotFound("workspace"))?;
        let member = control.members.membership(&id, &signed.record.account).await?;
        let actor = signed.actor(member.clone());
        let workspace = control.workspaces.get(&actor, &id).await?;
        let two = Page { after: "", limit: 2 };
        let several = control.workspaces.workspaces_of(&actor, two).await?.len() > 1;
        let can_manage_edges = control.edges.can_manage(&actor).await?;
        let query = Form::parse(parts.uri.query().unwrap_or_default().as_bytes()).unwrap_or_default();
        Ok(Self {
            to: WorkspacePaths::of(&id),
            flash: Flash::of(control.cookies, &parts.headers),
            cookies: control.cookies,
            several,
            can_manage_edges,
            now: control.changes.now(),
            session: signed,
            actor,
            member,
            workspace,
            parameters,
            query,
        })
    }

    /// A parameter of the query; empty if it is absent or longer than any the console makes.
    pub fn query(&self, name: &str) -> &str {
        self.query
            .get(name)
            .filter(|value| value.len() <= 512)
            .unwrap_or_default()
    }

    pub fn app(&self) -> Result<AppId, Fault> {
        self.parameter("id", AppId::parse, "OAuth app")
    }

    pub fn source(&self) -> Result<SourceId, Fault> {
        self.parameter("id", SourceId::parse, "source")
    }

    pub fn key(&self) -> Result<KeyId, Fault> {
        self.parameter("kid", KeyId::parse, "public key")
    }

    /// A parameter of the path, unparsed.
    pub fn in_path(&self, name: &str) -> &str {
        let found = self.parameters.iter().find(|(held, _)| held == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    fn parameter<T, E>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
        what: &'static str,
    ) -> Result<T, Fault> {
        parse(self.in_path(name)).map_err(|_| ControlError::NotFound(what).into())
    }

    /// Whether the member may do this to the workspace. It decides what a page offers; the function behind the form
    /// checks again.
    pub fn may(&self, action: Action) -> bool {
        may(&self.member.grants, action, Resource::Workspace)
    }

    /// The same, for one source.
    pub fn may_for(&self, action: Action, source: &Source) -> bool {
        let resource = Resource::Source {
            id: &source.id,
            kind: source.kind,
        };
        may(&self.member.grants, action, resource)
    }

    /// Fails for a member who may not do what the page offers.
    pub fn require(&self, action: Action) -> Result<(), Fault> {
        if self.may(action) {
            Ok(())
        } else {
            Err(ControlError::Forbidden(action).into())
        }
    }

    pub fn require_on_source(&self, action: Action, source: &Source) -> Result<(), Fault> {
        if self.may_for(action, source) {
            Ok(())
        } else {
            Err(ControlError::Forbidden(action).into())
        }
    }

    /// The actor of a form that was made for one revision of a resource.
    pub fn actor_who_saw(&self, fields: &Fields) -> Actor {
        // Revision 0 never exists.
        let seen = canonical(fields.text("revision")).unwrap_or(0);
        Actor {
            if_match: IfMatch::Revisions(vec![seen]),
            ..self.actor.clone()
        }
    }

    pub fn is_csrf(&self, value: &str) -> bool {
        self.session.is_csrf(value)
    }

    /// The frame of a page of this workspace.
    pub fn frame(&self, title: impl Into<String>, section: Section) -> Frame {
        let sources = SourceKind::ALL
            .iter()
            .any(|kind| self.member.grants.view_of(*kind) != View::None);
        Frame {
            title: title.into(),
            section,
            to: self.to.clone(),
            workspace: self.workspace.name.as_str().to_owned(),
            several: self.several,
            email: self.member.email.clone(),
            csrf: self.session.csrf().to_owned(),
            sees: NavPermissions {
                apps: self.may(Action::ViewApp),
                sources,
                owner: self.may(Action::ManageMembers),
                edges: self.can_manage_edges,
            },
            done: self.flash.map(Flash::words),
        }
    }

    /// A redirect to a page that shows what was done.
    pub fn done(&self, path: &str, flash: impl Into<Flash>) -> Response {
        let mut answer = see_other(path);
        if let Some(cookie) = flash.into().to_cookie(self.cookies) {
            answer.headers_mut().append(header::SET_COOKIE, cookie);
        }
        answer
    }
}

/// The context of the page, for handlers.
pub(crate) struct CurrentVisit(pub Arc<PageContext>);

impl<S: Sync> FromRequestParts<S> for CurrentVisit {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        parts
            .extensions
            .get()
            .cloned()
            .map(Self)
            .ok_or(Fault::NotSignedIn)
    }
}
