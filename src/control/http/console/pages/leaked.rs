//! Leaked credentials: identifying and revoking one, and the reports of tokens found in public.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use zeroize::Zeroizing;

use crate::control::error::ControlError;
use crate::control::http::console::answer::{answered, refused, shown};
use crate::control::http::console::components::{Field, Listing, Pager, When, exact};
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section};
use crate::control::http::console::notice::Notice;
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::control::tokens::identify::{Credential, State as TokenState};
use crate::control::tokens::revoke::Revoked;
use crate::domain::ids::{AppId, KeyId, MemberId};
use crate::domain::policy::Enforcement;
use crate::model::api_token::MemberApiToken;
use crate::model::leak::LeakNotice;
use crate::model::page::Page as Span;
use crate::model::source::Source;

/// The most notices that the overview counts.
const COUNTED_MAX: u32 = 20;

#[derive(Template)]
#[template(path = "security/leaked_tokens.html")]
struct LeakedPage {
    frame: Frame,
    notices: Vec<Row>,
    pager: Pager,
    problem: String,
    /// The pasted text may be a credential: it is not sent back.
    credential: Field,
    found: Option<Finding>,
}

/// A notice. Place and source are text of the reporter.
struct Row {
    id: String,
    kind: &'static str,
    token_id: String,
    /// The OAuth app or the member that the token belongs to.
    owner: String,
    owner_path: Option<String>,
    url: String,
    /// Whether the place is a link: only `https` addresses are.
    opens: bool,
    source: String,
    reporter: String,
    reported: When,
}

impl Row {
    async fn of(control: &Control, visit: &PageContext, notice: LeakNotice) -> Result<Self, Fault> {
        let (kind, named) = if notice.kind == "api_token" {
            ("API token", member(control, visit, &notice.owner).await?)
        } else {
            ("Access token", app(control, visit, &notice.owner).await?)
        };
        let (owner, owner_path) = named.map_or((notice.owner, None), |(name, path)| (name, Some(path)));
        Ok(Self {
            kind,
            owner,
            owner_path,
            opens: notice.url.starts_with("https://"),
            id: notice.id,
            token_id: notice.token_id,
            url: notice.url,
            source: notice.source,
            reporter: if notice.reporter == "github_secret_scanning" {
                "GitHub".to_owned()
            } else {
                notice.reporter
            },
            reported: When::ago(notice.reported_at, visit.now),
        })
    }
}

/// Name and page of the app, if it still exists.
async fn app(control: &Control, visit: &PageContext, id: &str) -> Result<Option<(String, String)>, Fault> {
    let Ok(id) = AppId::parse(id) else { return Ok(None) };
    let found = control
        .search
        .app_without_keys(&visit.actor, &visit.workspace.id, &id)
        .await;
    let named = found.map(|app| (app.name.to_string(), visit.to.app(&id)));
    if_there(named)
}

async fn member(control: &Control, visit: &PageContext, id: &str) -> Result<Option<(String, String)>, Fault> {
    let Ok(id) = MemberId::parse(id) else {
        return Ok(None);
    };
    let found = control.members.get(&visit.actor, &visit.workspace.id, &id).await;
    let named = found.map(|member| (member.email, visit.to.member(&id)));
    if_there(named)
}

fn if_there<T>(found: Result<T, ControlError>) -> Result<Option<T>, Fault> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(ControlError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The number of notices, for the overview.
pub(crate) async fn count(control: &Control, visit: &PageContext) -> Result<String, Fault> {
    let span = Span {
        after: "",
        limit: COUNTED_MAX + 1,
    };
    let found = control
        .leaked_tokens
        .leaked_tokens(&visit.actor, &visit.workspace.id, span)
        .await?;
    let most = usize::try_from(COUNTED_MAX).unwrap_or(usize::MAX);
    Ok(match found.len() {
        0 => String::new(),
        count if count > most => format!("more than {most}"),
        count => count.to_string(),
    })
}

async fn list_page(control: &Control, visit: &PageContext, problems: &Problems) -> Result<LeakedPage, Fault> {
    let listing = Listing {
        path: visit.to.leaked_tokens(),
        query: &[],
        after: visit.query("after"),
    };
    let mut found = control
        .leaked_tokens
        .leaked_tokens(&visit.actor, &visit.workspace.id, listing.span())
        .await?;
    let pager = Pager::cut(&mut found, "notices", &listing, |notice| notice.id.as_str());
    let mut notices = Vec::with_capacity(found.len());
    for notice in found {
        notices.push(Row::of(control, visit, notice).await?);
    }
    Ok(LeakedPage {
        frame: visit.frame("Leaked tokens", Section::LeakedTokens),
        notices,
        pager,
        problem: problems.of_form(&[CREDENTIAL]),
        credential: Field::area(CREDENTIAL, "Leaked credential")
            .short()
            .hint("Complete, as you found it. Never paste a private key.")
            .problem(problems.of_field(CREDENTIAL)),
        found: None,
    })
}

/// `GET leaked-tokens`.
pub(crate) async fn list(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let list = list_page(&control, &visit, &Problems::none()).await?;
    shown(&list)
}

/// The field of the pasted text.
const CREDENTIAL: &str = "credential";

/// What a pasted text is.
struct Finding {
    what: &'static str,
    state: Option<Shown>,
    advice: &'static str,
    facts: Vec<Fact>,
    revoke: Option<Revoke>,
    /// A page that revokes it.
    link: Option<(&'static str, String)>,
}

/// Whether a credential still works.
struct Shown {
    active: bool,
    word: &'static str,
}

struct Fact {
    name: &'static str,
    value: String,
    path: Option<String>,
}

/// The form that revokes what was identified.
struct Revoke {
    kind: &'static str,
    app: String,
    id: String,
    button: &'static str,
}

const ACCESS_TOKEN: &str = "access_token";
const API_TOKEN: &str = "api_token";

impl From<TokenState> for Shown {
    fn from(state: TokenState) -> Self {
        let (active, word) = match state {
            TokenState::Active => (true, "Active"),
            TokenState::Expired => (false, "Expired"),
            TokenState::Revoked => (false, "Revoked"),
        };
        Self { active, word }
    }
}

impl Finding {
    fn plain(what: &'static str, advice: &'static str) -> Self {
        Self {
            what,
            state: None,
            advice,
            facts: Vec::new(),
            revoke: None,
            link: None,
        }
    }

    fn of(visit: &PageContext, credential: Credential) -> Self {
        match credential {
            Credential::AccessToken {
                app,
                app_name,
                token_id,
                expires_at,
                state,
            } => Self {
                state: Some(state.into()),
                facts: vec![
                    Fact::new("OAuth app", app_name, Some(visit.to.app(&app))),
                    Fact::new("Token ID", token_id.clone(), None),
                    Fact::new("Expires", exact(expires_at), None),
                ],
                revoke: (state == TokenState::Active).then(|| Revoke {
                    kind: ACCESS_TOKEN,
                    app: app.to_string(),
                    id: token_id,
                    button: "Revoke token",
                }),
                ..Self::plain(
                    "Access token",
                    match state {
                        TokenState::Active => {
                            "Gateways accept this token. Its client can get a new token automatically."
                        }
                        TokenState::Expired | TokenState::Revoked => {
                            "Gateways reject this token. Nothing to do."
                        }
                    },
                )
            },
            Credential::ApiToken { token, state } => Self::of_api_token(visit, token, state),
            Credential::UnknownApiToken => Self::plain(
                "API token that does not work",
                "It was revoked, or it is not an API token of this workspace.",
            ),
            Credential::WriteKey(source) => Self::of_write_key(visit, &source),
            Credential::PublicKey { app, app_name, key } => Self::of_public_key(visit, &app, app_name, &key),
            Credential::UnknownKey => Self::plain(
                "Public key of no app",
                "No OAuth app of this workspace has this public key.",
            ),
            Credential::PrivateKey => Self::plain(
                "Private key",
                "Whoever has it can get access tokens. To find its app, paste the public key instead: openssl pkey -in private.pem -pubout",
            ),
            Credential::Unknown => Self::plain(
                "Unknown",
                "This is not a credential of this workspace. Paste it complete, without other text.",
            ),
        }
    }

    fn of_write_key(visit: &PageContext, source: &Source) -> Self {
        let page = visit.to.source(&source.id);
        let enforcement = enforcement_word(source.enforcement).to_owned();
        Self {
            facts: vec![
                Fact::new("Source", source.name.to_string(), Some(page)),
                Fact::new("Enforcement", enforcement, None),
            ],
            ..Self::plain(
                "Write key",
                "A write key is not a secret: it identifies the source. Enable OAuth on the source so that requests need an access token.",
            )
        }
    }

    fn of_public_key(visit: &PageContext, app: &AppId, app_name: String, key: &KeyId) -> Self {
        Self {
            facts: vec![
                Fact::new("OAuth app", app_name, Some(visit.to.app(app))),
                Fact::new("Key ID", key.to_string(), None),
            ],
            link: Some(("Delete public key", visit.to.delete_key(app, key))),
            ..Self::plain(
                "Public key",
                "The public key itself is not a secret. If its private key leaked, add a new key, then delete this one: its tokens stop working.",
            )
        }
    }

    fn of_api_token(visit: &PageContext, token: MemberApiToken, state: TokenState) -> Self {
        let used = token.details.last_used_at;
        Self {
            state: Some(state.into()),
            facts: vec![
                Fact::new("Name", token.details.name.to_string(), None),
                Fact::new("Member", token.email, Some(visit.to.member(&token.member))),
                Fact::new("Last used", used.map_or_else(|| "never".to_owned(), exact), None),
            ],
            revoke: Some(Revoke {
                kind: API_TOKEN,
                app: String::new(),
                id: token.details.id,
                button: "Revoke API token",
            }),
            ..Self::plain(
                "API token",
                "It works with all permissions of its member in this workspace.",
            )
        }
    }
}

impl Fact {
    fn new(name: &'static str, value: String, path: Option<String>) -> Self {
        Self { name, value, path }
    }
}

const fn enforcement_word(enforcement: Enforcement) -> &'static str {
    match enforcement {
        Enforcement::Off => "Off",
        Enforcement::Observe => "Observing",
        Enforcement::On => "Enforced",
    }
}

/// `POST leaked-tokens`: says what a pasted text is. Nothing is changed.
pub(crate) async fn identify(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    let text = Zeroizing::new(fields.raw(CREDENTIAL).to_owned());
    let found = control
        .revocation
        .identify(&visit.actor, &visit.workspace.id, &text)
        .await;
    match found {
        Ok(credential) => {
            let mut list = list_page(&control, &visit, &Problems::none()).await?;
            list.found = Some(Finding::of(&visit, credential));
            shown(&list)
        }
        Err(error) => {
            refused(Problems::of(error)?, async |problems| {
                list_page(&control, &visit, &problems).await
            })
            .await
        }
    }
}

/// `POST leaked-tokens/revoke`: revokes what was identified.
pub(crate) async fn revoke(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    let id = fields.text("id");
    let workspace = &visit.workspace.id;
    let revoked = if fields.text("kind") == API_TOKEN {
        let revoked = control.api_tokens.delete_api_token(&visit.actor, workspace, id);
        revoked.await.map(|()| Notice::ApiTokenRevoked)
    } else {
        let app = AppId::parse(fields.text("app")).map_err(|_| ControlError::NotFound("OAuth app"))?;
        let revoked = control
            .revocation
            .revoke_token_id(&visit.actor, workspace, &app, id);
        revoked.await.map(|revoked| match revoked {
            Revoked::Now { .. } => Notice::TokenRevoked,
            Revoked::Expired { .. } => Notice::TokenExpired,
        })
    };
    answered(
        revoked,
        |notice| visit.done(&visit.to.leaked_tokens(), notice),
        async |problems| list_page(&control, &visit, &problems).await,
    )
    .await
}

/// `POST leaked-tokens/{id}/dismiss`.
pub(crate) async fn dismiss(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    control
        .leaked_tokens
        .dismiss_leak(&visit.actor, &visit.workspace.id, visit.in_path("id"))
        .await?;
    Ok(visit.done(&visit.to.leaked_tokens(), Notice::LeakDismissed))
}
