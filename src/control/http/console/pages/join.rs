//! Joining a workspace with the secret of an invitation.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header;
use http::request::Parts;
use zeroize::Zeroizing;

use crate::control::accounts::invitations::AcceptBy;
use crate::control::client_address::ClientAddress;
use crate::control::error::ControlError;
use crate::control::http::console::answer::{answered, shown};
use crate::control::http::console::components::Field;
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::fields::{CSRF, Fields};
use crate::control::http::console::frame::see_other;
use crate::control::http::console::notice::{Flash, Notice};
use crate::control::http::console::paths::{self, WorkspacePaths};
use crate::control::http::console::session::BrowserSession;
use crate::control::http::session_cookies::{browser, give_cookies};
use crate::control::plane::Control;

#[derive(Template)]
#[template(path = "outside/join.html")]
struct JoinPage {
    problem: String,
    secret: Field,
    /// None where passwords are turned off.
    password: Option<Field>,
    /// Where to sign on, if that is the only way to join.
    sign_on: Option<String>,
    own: Option<OwnAccount>,
}

/// The account of the session, which can join without a password.
struct OwnAccount {
    email: String,
    csrf: String,
}

/// The session, if its e-mail address is verified.
async fn own_account(control: &Control, parts: &Parts) -> Option<BrowserSession> {
    let signed = BrowserSession::of(control, parts).await.ok();
    signed.filter(|signed| signed.record.verified)
}

fn join_page(control: &Control, problems: &Problems, secret: &str, own: Option<&BrowserSession>) -> JoinPage {
    let has_passwords = control.sessions.has_passwords();
    JoinPage {
        problem: problems.of_form(&["secret", "password"]),
        secret: Field::text("secret", "Invitation")
            .hint("The code at the end of your invitation link (starts with pci_).")
            .value(secret)
            .problem(problems.of_field("secret")),
        password: has_passwords.then(|| {
            Field::text("password", "Password")
                .kind("password")
                .autocomplete("new-password")
                .hint("Choose a password for this workspace: at least 12 characters. A sentence works well.")
                .problem(problems.of_field("password"))
        }),
        sign_on: (!has_passwords).then(|| paths::single_sign_on(paths::HOME)),
        own: own.map(|signed| OwnAccount {
            email: signed.record.email.clone(),
            csrf: signed.csrf().to_owned(),
        }),
    }
}

/// `GET /console/join`.
pub(crate) async fn form(State(control): State<Arc<Control>>, parts: Parts) -> Page {
    let own = own_account(&control, &parts).await;
    shown(&join_page(&control, &Problems::none(), "", own.as_ref()))
}

/// `POST /console/join`. Joining with a new password signs in, too.
pub(crate) async fn submit(State(control): State<Arc<Control>>, request: Request) -> Page {
    let from = ClientAddress::in_extensions(request.extensions());
    let (parts, body) = request.into_parts();
    let headers = parts.headers.clone();
    let own = own_account(&control, &parts).await;
    let fields = Fields::read(Request::from_parts(parts, body)).await?;
    let (secret, as_own) = (fields.text("secret"), fields.text("as") == "own");
    let password = Zeroizing::new(fields.raw("password").to_owned());
    let by = match &own {
        Some(signed) if as_own && signed.is_csrf(fields.raw(CSRF)) => AcceptBy::Session(&signed.record),
        _ if as_own => return Err(Fault::Form),
        _ => AcceptBy::Password(&password),
    };
    let joined = control.invitations.accept_invitation(from.0, secret, by).await;
    if let Err(ControlError::Invalid { .. }) = &joined {
        control.limits.failed_authentication(from)?;
    }
    let signed_in = match &joined {
        Ok(member) if !as_own => {
            let browser = browser(&control, from, &headers);
            let workspace = Some(&member.workspace);
            let signed_in = control
                .sessions
                .sign_in_to(workspace, &member.email, &password, &browser)
                .await;
            signed_in.ok()
        }
        _ => None,
    };
    answered(
        joined,
        |member| {
            let workspace = WorkspacePaths::of(&member.workspace).overview();
            if let Some(signed_in) = &signed_in {
                let mut answer = with_notice(&control, &workspace, Notice::Welcome);
                give_cookies(&control, signed_in, &mut answer);
                answer
            } else if as_own {
                with_notice(&control, &workspace, Notice::Welcome)
            } else {
                with_notice(&control, &paths::sign_in_to(&workspace), Notice::Joined)
            }
        },
        async |problems| Ok(join_page(&control, &problems, secret, own.as_ref())),
    )
    .await
}

/// A redirect to a page that shows a notice.
fn with_notice(control: &Control, to: &str, notice: Notice) -> Response {
    let mut answer = see_other(to);
    if let Some(cookie) = Flash::from(notice).to_cookie(control.cookies) {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    answer
}
