//! The keys that sign access tokens: their states, rotation, and revoking a compromised one with its tokens.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use crate::control::error::ControlError;
use crate::control::http::console::answer::{answered, refused, shown};
use crate::control::http::console::components::{Badge, Field, When, counted, span};
use crate::control::http::console::confirm::{Confirm, Crumb};
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::fields::Fields;
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section};
use crate::control::http::console::notice::Notice;
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::control::signing_keys::rotation::{EndKeys, KeyState, SigningKeyStatus};
use crate::domain::ids::KeyId;

#[derive(Template)]
#[template(path = "security/signing_keys.html")]
struct KeysPage {
    frame: Frame,
    keys: Vec<Row>,
    may_change: bool,
    has_next: bool,
}

/// A signing key in the list.
struct Row {
    id: String,
    algorithm: &'static str,
    encrypted: bool,
    badge: Badge,
    created: When,
    signs_from: When,
    signs_until: Option<When>,
    kept_until: Option<When>,
    live: Option<u64>,
}

impl Row {
    fn of(key: &SigningKeyStatus, visit: &PageContext) -> Self {
        let when = |at| When::ago(at, visit.now);
        Self {
            id: key.id.to_string(),
            algorithm: key.algorithm,
            encrypted: key.encrypted,
            badge: Badge::of_key(key.state),
            created: when(key.created_at),
            signs_from: when(key.signs_from),
            signs_until: key.signs_until.map(when),
            kept_until: key.ends_at.map(when),
            live: key.live_tokens,
        }
    }
}

/// The signing keys, for the overview.
pub(crate) struct Summary {
    /// How long the active key has been signing.
    pub since: When,
    /// When the next key takes over, if it exists.
    pub next: Option<When>,
}

impl Summary {
    pub async fn of(control: &Control, visit: &PageContext) -> Result<Option<Self>, Fault> {
        let keys = control.signing_keys.list(&visit.actor).await?;
        let find = |state| keys.iter().find(|key| key.state == state);
        Ok(find(KeyState::Active).map(|key| Self {
            since: When::lasting(key.signs_from, visit.now),
            next: find(KeyState::Next).map(|key| When::ago(key.signs_from, visit.now)),
        }))
    }
}

/// `GET signing-keys`.
pub(crate) async fn list(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let keys = control.signing_keys.list(&visit.actor).await?;
    shown(&KeysPage {
        frame: visit.frame("Signing keys", Section::SigningKeys),
        may_change: control.signing_keys.can_manage(&visit.actor).await?,
        has_next: keys.iter().any(|key| key.state == KeyState::Next),
        keys: keys.iter().map(|key| Row::of(key, &visit)).collect(),
    })
}

/// The page of a step, for members who may manage signing keys.
async fn step(
    control: &Control,
    visit: &PageContext,
    title: &'static str,
    problems: &Problems,
) -> Result<Confirm, Fault> {
    if !control.signing_keys.can_manage(&visit.actor).await? {
        return Err(ControlError::NotOwnerOfAll.into());
    }
    Ok(Confirm {
        frame: visit.frame(title, Section::SigningKeys),
        crumbs: vec![Crumb::new(visit.to.signing_keys(), "Signing keys")],
        problem: problems.of_form(&[]),
        will: Vec::new(),
        links: Vec::new(),
        fields: Vec::new(),
        button: "",
        destroys: false,
        back: visit.to.signing_keys(),
    })
}

async fn rotate_page(control: &Control, visit: &PageContext, problems: &Problems) -> Result<Confirm, Fault> {
    let keys = control.signing_keys.list(&visit.actor).await?;
    let page = step(control, visit, "Rotate signing keys", problems).await?;
    if let Some(next) = keys.iter().find(|key| key.state == KeyState::Next) {
        return Ok(Confirm {
            will: vec![format!(
                "The next signing key is already published and takes over {}. You can rotate again after that.",
                When::ago(next.signs_from, visit.now).words()
            )],
            ..page
        });
    }
    Ok(Confirm {
        will: vec![
            format!(
                "The next key is published now and takes over in {}, when all gateways and other verifiers have fetched it.",
                span(control.signing_keys.publish_ahead_s())
            ),
            "The current key stays published until its last token expires. No active tokens are affected."
                .to_owned(),
        ],
        button: "Rotate now",
        ..page
    })
}

/// `GET signing-keys/rotate`.
pub(crate) async fn rotate_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    shown(&rotate_page(&control, &visit, &Problems::none()).await?)
}

/// `POST signing-keys/rotate`.
pub(crate) async fn rotate(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    answered(
        control.signing_keys.rotate(&visit.actor).await,
        |_| visit.done(&visit.to.signing_keys(), Notice::SigningKeyRotated),
        async |problems| rotate_page(&control, &visit, &problems).await,
    )
    .await
}

/// The key that the path names.
fn one(visit: &PageContext) -> Result<EndKeys, Fault> {
    let id = KeyId::parse(visit.in_path("kid")).map_err(|_| ControlError::NotFound("signing key"))?;
    Ok(EndKeys::One(id))
}

/// The field of the page that revokes all keys, in which the member confirms it.
const CONFIRM: &str = "confirm";

/// Whether the member typed the words.
fn is_confirmed(fields: &Fields) -> bool {
    fields.text(CONFIRM).eq_ignore_ascii_case("revoke all")
}

async fn end_page(
    control: &Control,
    visit: &PageContext,
    which: &EndKeys,
    problems: &Problems,
) -> Result<Confirm, Fault> {
    let keys = control.signing_keys.list(&visit.actor).await?;
    let is_meant = |key: &SigningKeyStatus| match which {
        EndKeys::One(id) => key.id == *id,
        EndKeys::All | EndKeys::Active => true,
    };
    let (ended, kept): (Vec<_>, Vec<_>) = keys.into_iter().partition(is_meant);
    let Some(first) = ended.first() else {
        return Err(ControlError::NotFound("signing key").into());
    };
    let (title, what) = match which {
        EndKeys::One(_) => ("Revoke signing key", format!("Revokes the key {}", first.id)),
        EndKeys::All | EndKeys::Active => ("Revoke all signing keys", "Revokes all signing keys".to_owned()),
    };
    let (live, staying) = (live_tokens(&ended), live_tokens(&kept));
    let mut will = vec![match live {
        0 => format!("{what}. No active tokens are affected."),
        live => {
            let stop = if live == 1 { "stops" } else { "stop" };
            format!(
                "{what}. {} {stop} working immediately, in all workspaces of this server.",
                counted(live, "active token")
            )
        }
    }];
    if !kept.is_empty() {
        let keep = if staying == 1 { "keeps" } else { "keep" };
        will.push(format!(
            "{} of other keys {keep} working.",
            counted(staying, "active token")
        ));
    }
    if live > 0 {
        will.push("Clients get a new token automatically. Requests with the old token are denied, and some clients drop them.".to_owned());
    }
    will.push(after(&ended, &kept));
    let step = step(control, visit, title, problems).await?;
    let fields = match which {
        EndKeys::One(_) => Vec::new(),
        EndKeys::All | EndKeys::Active => {
            vec![Field::text(CONFIRM, "Type “revoke all” to confirm").problem(problems.of_field(CONFIRM))]
        }
    };
    Ok(Confirm {
        problem: problems.of_form(&[CONFIRM]),
        will,
        fields,
        button: title,
        destroys: true,
        ..step
    })
}

fn live_tokens(keys: &[SigningKeyStatus]) -> u64 {
    keys.iter().filter_map(|key| key.live_tokens).sum()
}

/// Which key signs after these keys are revoked.
fn after(ended: &[SigningKeyStatus], kept: &[SigningKeyStatus]) -> String {
    let is_there = |state| kept.iter().any(|key| key.state == state);
    if is_there(KeyState::Active) {
        return if ended.iter().all(|key| key.state == KeyState::Next) {
            "It has not signed any token yet. Another key is created when the next rotation is due."
                .to_owned()
        } else {
            "The active key continues to sign.".to_owned()
        };
    }
    let next = if is_there(KeyState::Next) {
        "The next key takes over now"
    } else {
        "A new key is created and signs from now on"
    };
    format!(
        "{next}. Gateways of this server use it immediately. Other verifiers may cache the old key set for {}.",
        span(crate::control::signing_keys::key_ring::KEY_SET_AGE_S)
    )
}

/// `GET signing-keys/{kid}/end`.
pub(crate) async fn revoke_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    confirm(&control, &visit, &one(&visit)?).await
}

/// `POST signing-keys/{kid}/end`.
pub(crate) async fn revoke(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    revoke_keys(&control, &visit, &one(&visit)?).await
}

/// `GET signing-keys/end`.
pub(crate) async fn revoke_all_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    confirm(&control, &visit, &EndKeys::All).await
}

/// `POST signing-keys/end`.
pub(crate) async fn revoke_all(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    if !is_confirmed(&fields) {
        let problems = Problems::at(CONFIRM, "type “revoke all” to confirm");
        return refused(problems, async |problems| {
            end_page(&control, &visit, &EndKeys::All, &problems).await
        })
        .await;
    }
    revoke_keys(&control, &visit, &EndKeys::All).await
}

async fn confirm(control: &Control, visit: &PageContext, which: &EndKeys) -> Page {
    let answer = end_page(control, visit, which, &Problems::none()).await?;
    shown(&answer)
}

async fn revoke_keys(control: &Control, visit: &PageContext, which: &EndKeys) -> Page {
    answered(
        control.signing_keys.end(&visit.actor, which).await,
        |_| {
            let notice = match which {
                EndKeys::One(_) => Notice::SigningKeyRevoked,
                EndKeys::All | EndKeys::Active => Notice::SigningKeysRevoked,
            };
            visit.done(&visit.to.signing_keys(), notice)
        },
        async |problems| end_page(control, visit, which, &problems).await,
    )
    .await
}
