//! OAuth applications: the list, and creating one.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use crate::control::apps::app::{NewApp, NewAppKey};
use crate::control::http::console::answer::{answered, shown};
use crate::control::http::console::components::{Choice, Choices, Field, Listing, Pager, When, exact};
use crate::control::http::console::fault::{Page, Problems};
use crate::control::http::console::fields::Fields;
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section};
use crate::control::http::console::notice::Notice;
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::domain::role::Action;
use crate::domain::source_kind::SUPPORTED_SCOPES;
use crate::domain::time::{TokenLifetime, UnixSeconds};

#[derive(Template)]
#[template(path = "apps/list.html")]
struct AppsPage<'a> {
    frame: Frame,
    may_create: bool,
    q: &'a str,
    apps: Vec<AppRow>,
    pager: Pager,
}

struct AppRow {
    id: String,
    name: String,
    scopes: Vec<String>,
    keys: usize,
    sources: u64,
    last_token: Option<When>,
}

/// `GET apps`.
pub(crate) async fn list(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let (q, after) = (visit.query("q"), visit.query("after"));
    let listing = Listing {
        path: visit.to.apps(),
        query: &[("q", q)],
        after,
    };
    let found = control
        .search
        .find_apps(&visit.actor, &visit.workspace.id, q, listing.span())
        .await?;
    let (found, pager) = Pager::of_search(found, "OAuth apps", &listing, |item| item.app.id.as_str());
    let row = |item: crate::model::search::AppSummary| AppRow {
        id: item.app.id.to_string(),
        name: item.app.name.to_string(),
        scopes: item.app.scopes.iter().map(ToString::to_string).collect(),
        keys: item.keys.len(),
        sources: item.sources,
        last_token: item
            .keys
            .iter()
            .filter_map(|key| key.last_used_at)
            .max()
            .map(|at| When::ago(at, visit.now)),
    };
    shown(&AppsPage {
        frame: visit.frame("OAuth applications", Section::Apps),
        may_create: visit.may(Action::CreateApp),
        q,
        apps: found.into_iter().map(row).collect(),
        pager,
    })
}

#[derive(Template)]
#[template(path = "apps/new.html")]
struct NewAppPage {
    frame: Frame,
    problem: String,
    name: Field,
    key: KeyFields,
    lifetime: Choices,
    scopes: Choices,
}

/// The fields of a public key.
pub(crate) struct KeyFields {
    /// Prefix of the file names of a new key pair, so that the client's current files are not overwritten.
    pub file: &'static str,
    pub pem: Field,
    pub name: Field,
    pub expires: Choices,
}

/// Choices of how long a public key proves requests, in days.
const KEY_DAYS: [(&str, &str, Option<u64>); 4] = [
    ("", "Never", None),
    ("90", "90 days", Some(90)),
    ("365", "1 year", Some(365)),
    ("730", "2 years", Some(730)),
];

fn key_days(chosen: &str, problem: Option<&str>) -> Choices {
    let choice = |(value, label, _): (&str, &str, Option<u64>)| Choice {
        name: "key_days".to_owned(),
        value: value.to_owned(),
        label: label.to_owned(),
        hint: String::new(),
        chosen: value == chosen,
    };
    Choices::one(
        "key_days",
        "Public key expires after",
        KEY_DAYS.map(choice).into(),
    )
    .row()
    .problem(problem)
}

impl KeyFields {
    /// The fields as they were filled in. A private key is never sent back.
    pub fn new(fields: Option<&Fields>, problems: &Problems, prefix: &str) -> Self {
        let problem = |name: &str| problems.of_field(&format!("{prefix}{name}"));
        let typed = fields.map(pem).unwrap_or_default();
        let shown = if typed.contains("PRIVATE") { "" } else { typed };
        let key_name = fields.map(|fields| fields.text("key_name")).unwrap_or_default();
        Self {
            file: "",
            pem: Field::area("pem", "Public key")
                .hint("PEM that starts with -----BEGIN PUBLIC KEY-----. RSA with at least 2048 bits, P-256 or Ed25519.")
                .value(shown)
                .problem(problem("pem")),
            name: Field::text("key_name", "Public key name")
                .hint("A name to recognize this key by, such as the host that holds the private key.")
                .value(key_name)
                .problem(problem("name")),
            expires: key_days(
                fields.map(|fields| fields.text("key_days")).unwrap_or_default(),
                problem("expires_at"),
            ),
        }
    }
}

/// The key of a form: the uploaded file if there is one, else the pasted text.
fn pem(fields: &Fields) -> &str {
    let file = fields.text("pem_file");
    if file.is_empty() { fields.text("pem") } else { file }
}

/// The public key of a form.
pub(crate) fn new_key(fields: &Fields, now: UnixSeconds) -> NewAppKey {
    let days = KEY_DAYS
        .iter()
        .find(|(value, _, _)| *value == fields.text("key_days"));
    let days = days.and_then(|(_, _, days)| *days);
    NewAppKey {
        expires_at: days.map(|days| exact(now.plus(days * 86_400))),
        name: fields.text("key_name").to_owned(),
        pem: pem(fields).to_owned(),
        algorithm: None,
    }
}

/// What each scope allows.
const fn allows(scope: &str) -> &'static str {
    match scope.as_bytes() {
        b"tracking_api:write" => {
            "Send events to HTTP API, Node.js and Python sources through the Tracking API."
        }
        b"functions:write" => "Send requests to source functions.",
        b"public_api:read_write" => "Read and change the workspace through the Public API.",
        _ => "",
    }
}

pub(crate) fn scope_choices(chosen: &[String], problems: &Problems) -> Choices {
    let choice = |scope: &'static str| Choice {
        name: format!("scope.{scope}"),
        value: "on".to_owned(),
        label: scope.to_owned(),
        hint: allows(scope).to_owned(),
        chosen: chosen.iter().any(|held| held == scope),
    };
    Choices::several("scopes", "Scopes", SUPPORTED_SCOPES.map(choice).into())
        .hint("What this app's tokens can access. Grant only what it needs.")
        .problem(problems.of_field("scopes"))
}

pub(crate) fn lifetime_choices(chosen: &str, problems: &Problems) -> Choices {
    let choice = |lifetime: TokenLifetime| Choice {
        name: "token_lifetime".to_owned(),
        value: lifetime.as_str().to_owned(),
        label: lifetime_words(lifetime).to_owned(),
        hint: String::new(),
        chosen: lifetime.as_str() == chosen,
    };
    Choices::one(
        "token_lifetime",
        "Token expiration",
        TokenLifetime::ALL.map(choice).into(),
    )
    .row()
    .hint("How long each token is valid. Clients renew automatically, so shorter is safer.")
    .problem(problems.of_field("token_lifetime"))
}

pub(crate) const fn lifetime_words(lifetime: TokenLifetime) -> &'static str {
    match lifetime {
        TokenLifetime::OneDay => "1 day",
        TokenLifetime::TwoDays => "2 days",
        TokenLifetime::ThreeDays => "3 days",
        TokenLifetime::OneWeek => "1 week",
        TokenLifetime::TwoWeeks => "2 weeks",
        TokenLifetime::ThreeWeeks => "3 weeks",
        TokenLifetime::ThirtyDays => "30 days",
    }
}

fn new_app_page(visit: &PageContext, fields: Option<&Fields>, problems: &Problems) -> NewAppPage {
    let [tracking, ..] = SUPPORTED_SCOPES;
    let scopes = fields.map_or_else(|| vec![tracking.to_owned()], |fields| fields.ticked_of("scope."));
    let text = |name| fields.map(|fields| fields.text(name)).unwrap_or_default();
    let lifetime = match text("token_lifetime") {
        "" => TokenLifetime::OneDay.as_str(),
        chosen => chosen,
    };
    let with_field = [
        "name",
        "public_key.pem",
        "public_key.name",
        "scopes",
        "token_lifetime",
    ];
    NewAppPage {
        frame: visit.frame("Create OAuth app", Section::Apps),
        problem: problems.of_form(&with_field),
        name: Field::text("name", "Application name")
            .hint("For example, the service or team that sends the events.")
            .value(text("name"))
            .problem(problems.of_field("name")),
        key: KeyFields::new(fields, problems, "public_key."),
        lifetime: lifetime_choices(lifetime, problems),
        scopes: scope_choices(&scopes, problems),
    }
}

/// `GET apps/new`.
pub(crate) async fn create_form(CurrentVisit(visit): CurrentVisit) -> Page {
    visit.require(Action::CreateApp)?;
    shown(&new_app_page(&visit, None, &Problems::none()))
}

/// `POST apps/new`.
pub(crate) async fn create(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    let new = NewApp {
        name: fields.text("name").to_owned(),
        scopes: fields.ticked_of("scope."),
        token_lifetime: fields.text("token_lifetime").to_owned(),
        public_key: new_key(&fields, visit.now),
    };
    answered(
        control.apps.create(&visit.actor, &visit.workspace.id, new).await,
        |created| visit.done(&visit.to.app(&created.app.id), Notice::AppCreated),
        async |problems| Ok(new_app_page(&visit, Some(&fields), &problems)),
    )
    .await
}
