//! The keys that access tokens are signed with: what each is for, the next one ahead of its time, and, in an
//! emergency, the end of one with all its tokens.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use crate::control::error::ControlError;
use crate::control::http::console::components::{Badge, When, counted, span};
use crate::control::http::console::confirm::{Confirm, Crumb};
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section, page};
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::control::signing_keys::rotation::{EndKeys, KeyState, SigningKeyStatus};
use crate::domain::ids::KeyId;

#[derive(Template)]
#[template(path = "signing_keys.html")]
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
    made: When,
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
            made: when(key.created_at),
            signs_from: when(key.signs_from),
            signs_until: key.signs_until.map(when),
            kept_until: key.ends_at.map(when),
            live: key.live_tokens,
        }
    }
}

/// Signing keys in few words, for the front page.
pub(crate) struct Summary {
    /// Since when the key signs that does.
    pub since: When,
    /// When the next one takes over, where it is made already.
    pub next: Option<When>,
}

impl Summary {
    pub async fn of(control: &Control, visit: &PageContext) -> Result<Option<Self>, Fault> {
        let keys = control.signing_keys.list(&visit.actor).await?;
        let find = |state| keys.iter().find(|key| key.state == state);
        Ok(find(KeyState::Active).map(|key| Self {
            since: When::ago(key.signs_from, visit.now),
            next: find(KeyState::Next).map(|key| When::ago(key.signs_from, visit.now)),
        }))
    }
}

/// `GET signing-keys`.
pub(crate) async fn list(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let keys = control.signing_keys.list(&visit.actor).await?;
    Ok(page(
        StatusCode::OK,
        &KeysPage {
            frame: visit.frame("Signing keys", Section::Overview),
            may_change: control.signing_keys.can_manage(&visit.actor).await?,
            has_next: keys.iter().any(|key| key.state == KeyState::Next),
            keys: keys.iter().map(|key| Row::of(key, &visit)).collect(),
        },
    ))
}

/// A step on the keys, for whoever may take it.
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
        frame: visit.frame(title, Section::Overview),
        crumbs: vec![
            Crumb::new(visit.at.clone(), "Overview"),
            Crumb::new(format!("{}/signing-keys", visit.at), "Signing keys"),
        ],
        problem: problems.of_form(&[]),
        will: Vec::new(),
        links: Vec::new(),
        fields: Vec::new(),
        button: "",
        destroys: false,
        back: format!("{}/signing-keys", visit.at),
    })
}

async fn rotate_page(control: &Control, visit: &PageContext, problems: &Problems) -> Result<Confirm, Fault> {
    let keys = control.signing_keys.list(&visit.actor).await?;
    let page = step(control, visit, "Rotate signing keys", problems).await?;
    if let Some(next) = keys.iter().find(|key| key.state == KeyState::Next) {
        return Ok(Confirm {
            will: vec![format!(
                "The next signing key is made already and begins to sign {}. No further one is made before that.",
                When::ago(next.signs_from, visit.now).words()
            )],
            ..page
        });
    }
    Ok(Confirm {
        will: vec![
            format!(
                "A new signing key is made and published now. It begins to sign new tokens in {}: by then everybody who verifies tokens has it.",
                span(control.signing_keys.publish_ahead_s())
            ),
            "The key that signs now stays published until the last token that it signed has expired: 0 live tokens stop working.".to_owned(),
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
    Ok(page(
        StatusCode::OK,
        &rotate_page(&control, &visit, &Problems::none()).await?,
    ))
}

/// `POST signing-keys/rotate`.
pub(crate) async fn rotate(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    match control.signing_keys.rotate(&visit.actor).await {
        Ok(_) => Ok(visit.done("/signing-keys", "key-rotated")),
        Err(error) => {
            let problems = Problems::of(error)?;
            Ok(page(
                problems.status,
                &rotate_page(&control, &visit, &problems).await?,
            ))
        }
    }
}

/// The key that the path names.
fn one(visit: &PageContext) -> Result<EndKeys, Fault> {
    let id = KeyId::parse(visit.in_path("kid")).map_err(|_| ControlError::NotFound("signing key"))?;
    Ok(EndKeys::One(id))
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
        EndKeys::One(_) => ("End signing key", format!("The key {} ends", first.id)),
        EndKeys::All | EndKeys::Active => ("End every signing key", "Every signing key ends".to_owned()),
    };
    let (live, staying) = (live_tokens(&ended), live_tokens(&kept));
    let stop = if live == 1 { "stops" } else { "stop" };
    let stay = if staying == 1 { "stays" } else { "stay" };
    let mut will = vec![format!(
        "{what}: {} {stop} working, at once, in every workspace of this server.",
        counted(live, "live token")
    )];
    if !kept.is_empty() {
        will.push(format!(
            "{} of other keys {stay}.",
            counted(staying, "live token")
        ));
    }
    if live > 0 {
        will.push("A client whose token is refused fetches a new one by itself. What it sent with the old one is denied, and some clients drop it.".to_owned());
    }
    will.push(after(&ended, &kept));
    Ok(Confirm {
        will,
        button: title,
        destroys: true,
        ..step(control, visit, title, problems).await?
    })
}

fn live_tokens(keys: &[SigningKeyStatus]) -> u64 {
    keys.iter().filter_map(|key| key.live_tokens).sum()
}

/// What signs once these keys have ended.
fn after(ended: &[SigningKeyStatus], kept: &[SigningKeyStatus]) -> String {
    let is_there = |state| kept.iter().any(|key| key.state == state);
    if is_there(KeyState::Active) {
        return if ended.iter().all(|key| key.state == KeyState::Next) {
            "It has not signed anything yet. Another one is made when it is time.".to_owned()
        } else {
            "The key that signs new tokens goes on doing so.".to_owned()
        };
    }
    let next = if is_there(KeyState::Next) {
        "The next key begins to sign now"
    } else {
        "A new key is made and signs from now on"
    };
    format!(
        "{next}. Gateways of this server know it at once; whoever else verifies tokens may keep the old key set for {}.",
        span(crate::control::signing_keys::key_ring::KEY_SET_AGE_S)
    )
}

/// `GET signing-keys/{kid}/end`.
pub(crate) async fn end_form(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    shown(&control, &visit, &one(&visit)?).await
}

/// `POST signing-keys/{kid}/end`.
pub(crate) async fn end(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    ended(&control, &visit, &one(&visit)?).await
}

/// `GET signing-keys/end`.
pub(crate) async fn end_all_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    shown(&control, &visit, &EndKeys::All).await
}

/// `POST signing-keys/end`.
pub(crate) async fn end_all(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    ended(&control, &visit, &EndKeys::All).await
}

async fn shown(control: &Control, visit: &PageContext, which: &EndKeys) -> Page {
    let answer = end_page(control, visit, which, &Problems::none()).await?;
    Ok(page(StatusCode::OK, &answer))
}

async fn ended(control: &Control, visit: &PageContext, which: &EndKeys) -> Page {
    match control.signing_keys.end(&visit.actor, which).await {
        Ok(_) => Ok(visit.done("/signing-keys", "signing-keys-ended")),
        Err(error) => {
            let problems = Problems::of(error)?;
            let answer = end_page(control, visit, which, &problems).await?;
            Ok(page(problems.status, &answer))
        }
    }
}
