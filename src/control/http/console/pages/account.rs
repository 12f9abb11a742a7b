//! The member's own API tokens, sessions and password.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use http::HeaderMap;
use zeroize::Zeroizing;

use super::sign_in::without_cookie;
use crate::control::client_address::ClientAddress;
use crate::control::error::ControlError;
use crate::control::http::console::answer::{refused, shown};
use crate::control::http::console::components::{Choice, Choices, Field, When};
use crate::control::http::console::confirm::{Confirm, Crumb};
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::fields::Fields;
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section};
use crate::control::http::console::notice::{Flash, Notice};
use crate::control::http::console::paths;
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::http::session_cookies::{browser, give_cookies};
use crate::control::plane::Control;
use crate::model::page::Page as Span;

#[derive(Template)]
#[template(path = "account/overview.html")]
struct AccountPage {
    frame: Frame,
    tokens: Vec<TokenRow>,
    sessions: Vec<SessionRow>,
    /// How to verify an address that is not verified yet.
    unverified: Option<Unverified>,
    has_passwords: bool,
}

struct Unverified {
    /// Where to verify it with single sign-on, if that is configured.
    sign_on: Option<String>,
}

struct TokenRow {
    id: String,
    name: String,
    prefix: String,
    last_used: Option<When>,
    expires: Option<When>,
}

/// API tokens of one member: the most that one may have, so all of them are shown.
const TOKENS_SHOWN: u32 = 100;

struct SessionRow {
    id: String,
    current: bool,
    method: &'static str,
    browser: String,
    address: String,
    began: When,
    seen: When,
}

/// `GET account`.
pub(crate) async fn show(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let own = &visit.session.record;
    let row = |session: crate::model::session::SessionRecord| SessionRow {
        current: session.id == own.id,
        method: if session.method == "oidc" {
            "single sign-on"
        } else {
            "password"
        },
        browser: if session.user_agent.is_empty() {
            "unknown".to_owned()
        } else {
            session.user_agent
        },
        address: session.address,
        began: When::ago(session.created_at, visit.now),
        seen: When::ago(session.last_seen_at, visit.now),
        id: session.id,
    };
    let span = Span {
        after: "",
        limit: TOKENS_SHOWN,
    };
    let token = |token: crate::model::api_token::ApiTokenDetails| TokenRow {
        name: token.name.to_string(),
        prefix: token.prefix,
        last_used: token.last_used_at.map(|at| When::ago(at, visit.now)),
        expires: token.expires_at.map(|at| When::ago(at, visit.now)),
        id: token.id,
    };
    let tokens = control
        .api_tokens
        .api_tokens(&visit.actor, &visit.workspace.id, span)
        .await?;
    let sessions = control
        .sessions
        .sessions(own)
        .await?
        .into_iter()
        .map(row)
        .collect();
    let unverified = (!own.verified).then(|| Unverified {
        sign_on: control
            .sign_on
            .has_sign_on()
            .then(|| paths::single_sign_on(&visit.to.account())),
    });
    shown(&AccountPage {
        frame: visit.frame("Tokens and sessions", Section::Account),
        tokens: tokens.into_iter().map(token).collect(),
        sessions,
        unverified,
        has_passwords: control.sessions.has_passwords(),
    })
}

/// `POST account/sessions/{id}/end`.
pub(crate) async fn sign_out_session(
    State(control): State<Arc<Control>>,
    Extension(from): Extension<ClientAddress>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    let id = visit.in_path("id");
    control
        .sessions
        .sign_out(&visit.session.record, id, Some(from.0))
        .await?;
    if id == visit.session.record.id {
        return Ok(without_cookie(&control, Notice::SignedOut));
    }
    Ok(visit.done(&visit.to.account(), Notice::SessionSignedOut))
}

/// `POST account/sessions/end`: signs out everywhere, this browser included.
pub(crate) async fn sign_out_everywhere(
    State(control): State<Arc<Control>>,
    Extension(from): Extension<ClientAddress>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    let with_api_tokens = fields.text("api_tokens") == "on";
    let ended = control
        .sessions
        .sign_out_everywhere(&visit.session.record, with_api_tokens, Some(from.0))
        .await?;
    let flash = Flash::with_api_tokens(Notice::SignedOutEverywhere, ended.api_tokens);
    Ok(without_cookie(&control, flash))
}

#[derive(Template)]
#[template(path = "account/password.html")]
struct PasswordPage {
    frame: Frame,
    problem: String,
    current: Field,
    password: Field,
    api_tokens: Choices,
}

fn password_page(visit: &PageContext, fields: Option<&Fields>, problems: &Problems) -> PasswordPage {
    let keep = Choice {
        name: KEEP.to_owned(),
        value: "on".to_owned(),
        label: "Keep my API tokens".to_owned(),
        hint: "Only if you are sure that no one else has seen them.".to_owned(),
        chosen: fields.is_some_and(|fields| fields.text(KEEP) == "on"),
    };
    PasswordPage {
        api_tokens: Choices::several(KEEP, "API tokens", vec![keep]),
        frame: visit.frame("Change password", Section::Account),
        problem: problems.of_form(&["current_password", "password"]),
        current: Field::text("current_password", "Current password")
            .kind("password")
            .autocomplete("current-password")
            .problem(problems.of_field("current_password")),
        password: Field::text("password", "New password")
            .kind("password")
            .autocomplete("new-password")
            .hint("At least 12 characters. A sentence works well.")
            .problem(problems.of_field("password")),
    }
}

/// The field that keeps API tokens.
const KEEP: &str = "keep_api_tokens";

/// `GET account/password`.
pub(crate) async fn password_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    control.sessions.require_passwords()?;
    shown(&password_page(&visit, None, &Problems::none()))
}

/// `POST account/password`.
pub(crate) async fn change_password(
    State(control): State<Arc<Control>>,
    Extension(from): Extension<ClientAddress>,
    CurrentVisit(visit): CurrentVisit,
    headers: HeaderMap,
    Posted(fields): Posted,
) -> Page {
    let typed = |name| Zeroizing::new(fields.raw(name).to_owned());
    let (current, new) = (typed("current_password"), typed("password"));
    let browser = browser(&control, from, &headers);
    let problems = match control
        .passwords
        .change_password(
            &visit.session.record,
            &current,
            &new,
            fields.text(KEEP) == "on",
            &browser,
        )
        .await
    {
        Ok(changed) => {
            let flash = Flash::with_api_tokens(Notice::PasswordChanged, changed.ended.api_tokens);
            let mut answer = visit.done(&visit.to.account(), flash);
            give_cookies(&control, &changed.signed_in, &mut answer);
            return Ok(answer);
        }
        Err(ControlError::SignInRefused) => Problems::at("current_password", "this is not your password"),
        Err(error) => Problems::of(error)?,
    };
    refused(problems, async |problems| {
        Ok(password_page(&visit, Some(&fields), &problems))
    })
    .await
}

/// Choices of how long an API token is valid, in days.
const TOKEN_DAYS: [(&str, &str, u64); 4] = [
    ("7", "7 days", 7),
    ("30", "30 days", 30),
    ("90", "90 days", 90),
    ("365", "1 year", 365),
];

#[derive(Template)]
#[template(path = "account/new_token.html")]
struct NewTokenPage {
    frame: Frame,
    problem: String,
    name: Field,
    days: Choices,
}

fn new_token_page(visit: &PageContext, fields: Option<&Fields>, problems: &Problems) -> NewTokenPage {
    let text = |name| fields.map(|fields| fields.text(name)).unwrap_or_default();
    let chosen = if text("days").is_empty() {
        "90"
    } else {
        text("days")
    };
    let choice = |(value, label, _): (&str, &str, u64)| Choice {
        name: "days".to_owned(),
        value: value.to_owned(),
        label: label.to_owned(),
        hint: String::new(),
        chosen: value == chosen,
    };
    NewTokenPage {
        frame: visit.frame("Create API token", Section::Account),
        problem: problems.of_form(&["name", "expires_at"]),
        name: Field::text("name", "Token name")
            .hint("For example, the script or pipeline that uses it.")
            .value(text("name"))
            .problem(problems.of_field("name")),
        days: Choices::one("days", "Expires after", TOKEN_DAYS.map(choice).into())
            .row()
            .problem(problems.of_field("expires_at")),
    }
}

/// `GET account/tokens/new`.
pub(crate) async fn token_form(CurrentVisit(visit): CurrentVisit) -> Page {
    shown(&new_token_page(&visit, None, &Problems::none()))
}

#[derive(Template)]
#[template(path = "account/created_token.html")]
struct MadeTokenPage {
    frame: Frame,
    name: String,
    secret: Zeroizing<String>,
}

/// `POST account/tokens/new`. The response shows the token, once.
pub(crate) async fn create_token(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    let days = TOKEN_DAYS
        .iter()
        .find(|(value, _, _)| *value == fields.text("days"));
    let ends = days.map(|(_, _, days)| visit.now.plus(days * 86_400));
    let workspace = &visit.workspace.id;
    match control
        .api_tokens
        .create_own_api_token(&visit.actor, workspace, fields.text("name"), ends)
        .await
    {
        Ok(made) => shown(&MadeTokenPage {
            frame: visit.frame("API token created", Section::Account),
            name: made.details.name.to_string(),
            secret: Zeroizing::new(made.expose().to_owned()),
        }),
        Err(error) => {
            refused(Problems::of(error)?, async |problems| {
                Ok(new_token_page(&visit, Some(&fields), &problems))
            })
            .await
        }
    }
}

/// `GET account/tokens/{id}/delete`.
pub(crate) async fn revoke_token_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    let found = control
        .api_tokens
        .api_token(&visit.actor, &visit.workspace.id, visit.in_path("id"))
        .await?;
    let used = found.details.last_used_at.map_or_else(
        || "It has never been used.".to_owned(),
        |at| format!("It was last used {}.", When::ago(at, visit.now).words()),
    );
    shown(&token_step(
        &visit,
        format!(
            "The API token “{}” stops working immediately. {used}",
            found.details.name
        ),
    ))
}

fn token_step(visit: &PageContext, sentence: String) -> Confirm {
    Confirm {
        frame: visit.frame("Revoke API token", Section::Account),
        crumbs: vec![Crumb::new(visit.to.account(), "Tokens and sessions")],
        problem: String::new(),
        will: vec![sentence],
        links: Vec::new(),
        fields: Vec::new(),
        button: "Revoke API token",
        destroys: true,
        back: visit.to.account(),
    }
}

/// `POST account/tokens/{id}/delete`.
pub(crate) async fn revoke_token(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Result<axum::response::Response, Fault> {
    control
        .api_tokens
        .delete_api_token(&visit.actor, &visit.workspace.id, visit.in_path("id"))
        .await?;
    Ok(visit.done(&visit.to.account(), Notice::ApiTokenRevoked))
}
