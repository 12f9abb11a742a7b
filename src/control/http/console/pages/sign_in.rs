//! Signing in and out, and choosing a workspace.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use http::{StatusCode, header};
use zeroize::Zeroizing;

use crate::control::client_address::ClientAddress;
use crate::control::error::ControlError;
use crate::control::form::Form;
use crate::control::http::console::answer::shown;
use crate::control::http::console::components::{Field, sentence};
use crate::control::http::console::fault::{Fault, Page};
use crate::control::http::console::fields::{CSRF, Fields};
use crate::control::http::console::frame::page;
use crate::control::http::console::frame::see_other;
use crate::control::http::console::notice::{Flash, Notice};
use crate::control::http::console::paths::{self, WorkspacePaths, inside};
use crate::control::http::console::session::BrowserSession;
use crate::control::http::cookies::Cookie;
use crate::control::http::session_cookies::{browser, give_cookies};
use crate::control::plane::Control;
use crate::domain::ids::WorkspaceId;
use crate::model::page::Page as Span;
use crate::model::workspace::Workspace;

/// Workspaces on one page.
const WORKSPACES_SHOWN: u32 = 100;

#[derive(Template)]
#[template(path = "outside/sign_in.html")]
struct SignInPage {
    notice: Option<String>,
    problem: String,
    next: String,
    provider: Option<String>,
    /// None where passwords are turned off.
    credentials: Option<Credentials>,
}

struct Credentials {
    email: Field,
    password: Field,
}

/// `GET /` and `GET /console`.
pub(crate) async fn home(State(control): State<Arc<Control>>, parts: Parts) -> Page {
    let signed = match BrowserSession::of(&control, &parts).await {
        Ok(signed) => signed,
        Err(Fault::NotSignedIn) => return Ok(see_other(paths::SIGN_IN)),
        Err(fault) => return Err(fault),
    };
    match control.sessions.default_membership(&signed.record.account).await {
        Ok(member) => Ok(see_other(&WorkspacePaths::of(&member.workspace).overview())),
        Err(ControlError::Unauthenticated) => Ok(see_other(paths::WORKSPACES)),
        Err(error) => Err(error.into()),
    }
}

fn sign_in_page(control: &Control, next: &str, email: &str, problem: &str) -> SignInPage {
    SignInPage {
        notice: None,
        problem: problem.to_owned(),
        next: next.to_owned(),
        provider: control.sign_on.has_sign_on().then(|| paths::single_sign_on(next)),
        credentials: control.sessions.has_passwords().then(|| Credentials {
            email: Field::text("email", "E-mail address")
                .kind("email")
                .autocomplete("username")
                .value(email),
            password: Field::text("password", "Password")
                .kind("password")
                .autocomplete("current-password"),
        }),
    }
}

/// `GET /console/sign-in`.
pub(crate) async fn form(State(control): State<Arc<Control>>, parts: Parts) -> Response {
    let query = Form::parse(parts.uri.query().unwrap_or_default().as_bytes()).unwrap_or_default();
    let next = inside(query.get("next").unwrap_or_default());
    let flash = Flash::of(control.cookies, &parts.headers);
    let form = SignInPage {
        notice: flash.map(Flash::words),
        ..sign_in_page(&control, next, "", "")
    };
    let mut answer = page(StatusCode::OK, &form);
    if let Some(cookie) = flash.and_then(|_| control.cookies.clear(Cookie::Notice)) {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    answer
}

/// `POST /console/sign-in`. The session is always a new one (no session fixation).
pub(crate) async fn submit(
    State(control): State<Arc<Control>>,
    Extension(from): Extension<ClientAddress>,
    request: Request,
) -> Page {
    let browser = browser(&control, from, request.headers());
    let fields = Fields::read(request).await?;
    let next = inside(fields.text("next")).to_owned();
    let (email, password) = (
        fields.text("email"),
        Zeroizing::new(fields.raw("password").to_owned()),
    );
    let workspace = paths::workspace_of(&next).and_then(|id| WorkspaceId::parse(id).ok());
    let error = match control
        .sessions
        .sign_in_to(workspace.as_ref(), email, &password, &browser)
        .await
    {
        Ok(signed_in) => {
            let mut answer = see_other(&next);
            give_cookies(&control, &signed_in, &mut answer);
            return Ok(answer);
        }
        Err(error) => error,
    };
    let status = match &error {
        ControlError::SignInRefused => StatusCode::UNPROCESSABLE_ENTITY,
        ControlError::TooMany(_) | ControlError::TooManyFailures(_) => StatusCode::TOO_MANY_REQUESTS,
        ControlError::PasswordsOff => StatusCode::FORBIDDEN,
        _ => return Err(error.into()),
    };
    let problem = match &error {
        ControlError::TooManyFailures(wait) => {
            format!(
                "Too many failed attempts. Try again in {} seconds.",
                wait.seconds()
            )
        }
        other => sentence(&other.to_string()),
    };
    Ok(page(status, &sign_in_page(&control, &next, email, &problem)))
}

/// `POST /console/sign-out`.
pub(crate) async fn sign_out(State(control): State<Arc<Control>>, request: Request) -> Page {
    let (parts, body) = request.into_parts();
    let signed = match BrowserSession::of(&control, &parts).await {
        Ok(signed) => signed,
        Err(Fault::NotSignedIn) => return Ok(see_other(paths::SIGN_IN)),
        Err(fault) => return Err(fault),
    };
    let from = parts.extensions.get::<ClientAddress>().map(|from| from.0);
    let fields = Fields::read(Request::from_parts(parts, body)).await?;
    if !signed.is_csrf(fields.raw(CSRF)) {
        return Err(Fault::Form);
    }
    control
        .sessions
        .sign_out(&signed.record, &signed.record.id, from)
        .await?;
    Ok(without_cookie(&control, Notice::SignedOut))
}

/// A redirect to the sign-in page that removes the session's cookie and leaves a notice.
pub(crate) fn without_cookie(control: &Control, flash: impl Into<Flash>) -> Response {
    let mut answer = see_other(paths::SIGN_IN);
    let session = control.cookies.clear(Cookie::Session);
    let notice = flash.into().to_cookie(control.cookies);
    for cookie in session.into_iter().chain(notice) {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    answer
}

#[derive(Template)]
#[template(path = "outside/workspaces.html")]
struct WorkspacesPage {
    workspaces: Vec<WorkspaceLink>,
    next: Option<String>,
    csrf: String,
}

/// A workspace with a link to it.
struct WorkspaceLink {
    path: String,
    name: String,
}

impl From<Workspace> for WorkspaceLink {
    fn from(workspace: Workspace) -> Self {
        Self {
            path: WorkspacePaths::of(&workspace.id).overview(),
            name: workspace.name.to_string(),
        }
    }
}

/// `GET /console/workspaces`.
pub(crate) async fn workspaces(State(control): State<Arc<Control>>, parts: Parts) -> Page {
    let signed = match BrowserSession::of(&control, &parts).await {
        Ok(signed) => signed,
        Err(Fault::NotSignedIn) => return Ok(see_other(paths::SIGN_IN)),
        Err(fault) => return Err(fault),
    };
    let query = Form::parse(parts.uri.query().unwrap_or_default().as_bytes()).unwrap_or_default();
    let span = Span {
        after: query.get("after").unwrap_or_default(),
        limit: WORKSPACES_SHOWN,
    };
    let workspaces = match control.sessions.default_membership(&signed.record.account).await {
        Ok(member) => {
            control
                .workspaces
                .workspaces_of(&signed.actor(member), span)
                .await?
        }
        Err(ControlError::Unauthenticated) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let full = workspaces.len() >= usize::try_from(WORKSPACES_SHOWN).unwrap_or(usize::MAX);
    let next = workspaces
        .last()
        .filter(|_| full)
        .map(|last| paths::workspaces_after(last.id.as_str()));
    shown(&WorkspacesPage {
        workspaces: workspaces.into_iter().map(WorkspaceLink::from).collect(),
        next,
        csrf: signed.csrf().to_owned(),
    })
}
