//! Access management: members, their roles with what they are for, and invitations.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use http::StatusCode;
use http::request::Parts;
use zeroize::Zeroizing;

use super::sign_in::inside;
use crate::control::accounts::invitations::AcceptBy;
use crate::control::accounts::invitations::NewMember;
use crate::control::client_address::ClientAddress;
use crate::control::error::ControlError;
use crate::control::http::console::components::{Field, PAGE_ITEMS, Pager, When};
use crate::control::http::console::confirm::{Confirm, Crumb};
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::fields::{CSRF, Fields};
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::see_other;
use crate::control::http::console::frame::{Frame, Section, page};
use crate::control::http::console::grants::{Given, RoleChoice, grants_of, is_search, role_choices};
use crate::control::http::console::session::BrowserSession;
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::domain::decimal::canonical;
use crate::domain::ids::MemberId;
use crate::domain::role::{Action, Assigned, Grants};
use crate::model::member::Member;
use crate::model::page::Page as Span;

#[derive(Template)]
#[template(path = "members.html")]
struct MembersPage {
    frame: Frame,
    members: Vec<MemberRow>,
    pager: Pager,
}

struct MemberRow {
    id: String,
    email: String,
    roles: Vec<String>,
    joined: Option<When>,
    own: bool,
}

/// A member's roles in words.
fn role_words(grants: &Grants) -> Vec<String> {
    let words = grants.iter().map(|grant| match &grant.resources {
        _ if !grant.role.is_for_sources() => grant.role.title().to_owned(),
        Assigned::All => format!("{}: all", grant.role.title()),
        Assigned::Listed(ids) => format!("{}: {} listed", grant.role.title(), ids.len()),
    });
    words.collect()
}

/// `GET members`.
pub(crate) async fn list(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let after = visit.query("after");
    let span = Span {
        after,
        limit: PAGE_ITEMS + 1,
    };
    let mut found = control
        .members
        .list(&visit.actor, &visit.workspace.id, span)
        .await?;
    let path = format!("{}/members?", visit.at);
    let pager = Pager::cut(&mut found, "members", &path, after, |member| member.id.as_str());
    let row = |member: Member| MemberRow {
        id: member.id.to_string(),
        roles: role_words(&member.grants),
        joined: member.joined_at.map(|at| When::ago(at, visit.now)),
        own: member.id == visit.member.id,
        email: member.email,
    };
    Ok(page(
        StatusCode::OK,
        &MembersPage {
            frame: visit.frame("Members", Section::Members),
            members: found.into_iter().map(row).collect(),
            pager,
        },
    ))
}

#[derive(Template)]
#[template(path = "member.html")]
struct MemberPage {
    frame: Frame,
    problem: String,
    roles_problem: Option<String>,
    /// What to fill in for somebody new; the member's address otherwise.
    email: Option<Field>,
    member_email: String,
    member_id: String,
    joined: bool,
    revision: u64,
    roles: Vec<RoleChoice>,
}

async fn member_page(
    control: &Control,
    visit: &PageContext,
    member: Option<&Member>,
    typed: Option<&Fields>,
    problems: &Problems,
) -> Result<MemberPage, Fault> {
    let title = member.map_or("Invite a member", |_| "Roles");
    let email = typed.map(|typed| typed.text("email")).unwrap_or_default();
    let given = Given {
        held: member.map(|member| &member.grants),
        typed,
        problems,
    };
    let beside = problems.is_below("roles[") || problems.of_field("email").is_some();
    Ok(MemberPage {
        frame: visit.frame(title, Section::Members),
        problem: if beside {
            String::new()
        } else {
            problems.of_form(&["roles"])
        },
        roles_problem: problems
            .of_field("roles")
            .map(crate::control::http::console::components::sentence),
        email: member.is_none().then(|| {
            Field::text("email", "E-mail address")
                .kind("email")
                .hint("Whom the invitation is for. They sign in with this address.")
                .value(email)
                .problem(problems.of_field("email"))
        }),
        member_email: member.map(|member| member.email.clone()).unwrap_or_default(),
        member_id: member.map(|member| member.id.to_string()).unwrap_or_default(),
        joined: member.is_some_and(|member| member.joined_at.is_some()),
        revision: member.map_or(0, |member| member.revision),
        roles: role_choices(control, visit, &given).await?,
    })
}

/// The form again, after a search for sources: nothing is saved, and nothing that was typed is lost.
async fn searched(control: &Control, visit: &PageContext, member: Option<&Member>, fields: &Fields) -> Page {
    let mut answer = member_page(control, visit, member, Some(fields), &Problems::none()).await?;
    // Of what they saw when they opened the page, whatever somebody else has saved since.
    answer.revision = canonical(fields.text("revision")).unwrap_or(0);
    Ok(page(StatusCode::OK, &answer))
}

/// `GET members/invite`.
pub(crate) async fn invite_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    visit.require(Action::ManageMembers)?;
    let answer = member_page(&control, &visit, None, None, &Problems::none()).await?;
    Ok(page(StatusCode::OK, &answer))
}

#[derive(Template)]
#[template(path = "invited.html")]
struct InvitedPage {
    frame: Frame,
    email: String,
    link: String,
    ends: When,
}

/// `POST members/invite`. The link is shown in this answer and never again.
pub(crate) async fn invite(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    if is_search(&fields) {
        visit.require(Action::ManageMembers)?;
        return searched(&control, &visit, None, &fields).await;
    }
    let new = NewMember {
        email: fields.text("email").to_owned(),
        roles: grants_of(&fields),
    };
    match control
        .invitations
        .invite_member(&visit.actor, &visit.workspace.id, &new)
        .await
    {
        Ok(invited) => Ok(page(
            StatusCode::OK,
            &InvitedPage {
                frame: visit.frame("Invitation made", Section::Members),
                email: invited.member.email.clone(),
                link: format!("{}/console/join#{}", control.issuer(), invited.expose()),
                ends: When::ago(invited.expires_at, visit.now),
            },
        )),
        Err(error) => {
            let problems = Problems::of(error)?;
            let answer = member_page(&control, &visit, None, Some(&fields), &problems).await?;
            Ok(page(problems.status, &answer))
        }
    }
}

fn id_of(visit: &PageContext) -> Result<MemberId, Fault> {
    Ok(MemberId::parse(visit.in_path("id")).map_err(|_| ControlError::NotFound("member"))?)
}

async fn of_path(control: &Control, visit: &PageContext) -> Result<Member, Fault> {
    visit.require(Action::ManageMembers)?;
    Ok(control
        .members
        .get(&visit.actor, &visit.workspace.id, &id_of(visit)?)
        .await?)
}

/// `GET members/{id}`.
pub(crate) async fn show(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let member = of_path(&control, &visit).await?;
    let answer = member_page(&control, &visit, Some(&member), None, &Problems::none()).await?;
    Ok(page(StatusCode::OK, &answer))
}

/// `POST members/{id}`.
pub(crate) async fn save(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(fields): Posted,
) -> Page {
    if is_search(&fields) {
        let member = of_path(&control, &visit).await?;
        return searched(&control, &visit, Some(&member), &fields).await;
    }
    let id = id_of(&visit)?;
    let actor = visit.actor_who_saw(&fields);
    match control
        .members
        .update(&actor, &visit.workspace.id, &id, &grants_of(&fields))
        .await
    {
        Ok(_) => Ok(visit.done("/members", "member-saved")),
        Err(error) => {
            let problems = Problems::of(error)?;
            let member = of_path(&control, &visit).await?;
            let answer = member_page(&control, &visit, Some(&member), Some(&fields), &problems).await?;
            Ok(page(problems.status, &answer))
        }
    }
}

async fn remove_page(control: &Control, visit: &PageContext, problems: &Problems) -> Result<Confirm, Fault> {
    let member = of_path(control, visit).await?;
    let invited = member.joined_at.is_none();
    let will = if invited {
        vec![format!(
            "The invitation of {} is withdrawn: its link opens nothing any more.",
            member.email
        )]
    } else {
        vec![
            format!(
                "{} can no longer open this workspace, from this moment on.",
                member.email
            ),
            "Their API tokens for it end, and their sessions no longer open it. What they are in other workspaces stays."
                .to_owned(),
            "What they made stays. The audit trail keeps what they did.".to_owned(),
        ]
    };
    Ok(Confirm {
        frame: visit.frame(
            if invited {
                "Withdraw invitation"
            } else {
                "Remove member"
            },
            Section::Members,
        ),
        crumbs: vec![Crumb::new(format!("{}/members", visit.at), "Members")],
        problem: problems.of_form(&[]),
        will,
        links: Vec::new(),
        fields: Vec::new(),
        button: if invited { "Withdraw" } else { "Remove member" },
        destroys: true,
        back: format!("{}/members/{}", visit.at, member.id),
    })
}

/// `GET members/{id}/remove`.
pub(crate) async fn remove_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    Ok(page(
        StatusCode::OK,
        &remove_page(&control, &visit, &Problems::none()).await?,
    ))
}

/// `POST members/{id}/remove`.
pub(crate) async fn remove(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    match control
        .members
        .remove(&visit.actor, &visit.workspace.id, &id_of(&visit)?)
        .await
    {
        Ok(()) => Ok(visit.done("/members", "member-removed")),
        Err(error) => {
            let problems = Problems::of(error)?;
            Ok(page(
                problems.status,
                &remove_page(&control, &visit, &problems).await?,
            ))
        }
    }
}

#[derive(Template)]
#[template(path = "join.html")]
struct JoinPage {
    problem: String,
    secret: Field,
    password: Field,
    own: Option<OwnAccount>,
}

/// Somebody who is signed in and may join as who they are.
struct OwnAccount {
    email: String,
    csrf: String,
}

/// Who is signed in, if their address is verified.
async fn own_account(control: &Control, parts: &Parts) -> Option<BrowserSession> {
    let signed = BrowserSession::of(control, parts).await.ok();
    signed.filter(|signed| signed.record.verified)
}

fn join_page(problems: &Problems, secret: &str, own: Option<&BrowserSession>) -> JoinPage {
    JoinPage {
        problem: problems.of_form(&["secret", "password"]),
        secret: Field::text("secret", "Invitation")
            .hint("Begins with pci_. It is the end of the link that you were sent.")
            .value(secret)
            .problem(problems.of_field("secret")),
        password: Field::text("password", "Password")
            .kind("password")
            .autocomplete("new-password")
            .hint("Choose a password for this workspace. A sentence is a good password.")
            .problem(problems.of_field("password")),
        own: own.map(|signed| OwnAccount {
            email: signed.record.email.clone(),
            csrf: signed.csrf().to_owned(),
        }),
    }
}

/// `GET /console/join`.
pub(crate) async fn join_form(State(control): State<Arc<Control>>, parts: Parts) -> Page {
    let own = own_account(&control, &parts).await;
    Ok(page(
        StatusCode::OK,
        &join_page(&Problems::none(), "", own.as_ref()),
    ))
}

/// `POST /console/join`.
pub(crate) async fn join(State(control): State<Arc<Control>>, request: Request) -> Page {
    let from = ClientAddress::in_extensions(request.extensions());
    let (parts, body) = request.into_parts();
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
    match joined {
        Ok(member) => {
            let next = format!("/console/w/{}?done=welcome", member.workspace);
            if as_own {
                return Ok(see_other(&next));
            }
            let next = crate::control::http::console::components::encoded(inside(&next));
            Ok(see_other(&format!("/console/sign-in?done=joined&next={next}")))
        }
        Err(error) => {
            let problems = Problems::of(error)?;
            Ok(page(problems.status, &join_page(&problems, secret, own.as_ref())))
        }
    }
}
