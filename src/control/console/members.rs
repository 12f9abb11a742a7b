//! Access management: members, their roles with what they are for, and invitations.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use http::StatusCode;
use zeroize::Zeroizing;

use super::app::{Confirm, Crumb};
use super::fault::{Fault, Page, Problems};
use super::frame::{Frame, Section, page};
use super::parts::{Field, PAGE_ITEMS, Pager, When};
use super::posted::{Fields, Posted};
use super::see_other;
use super::sign_in::inside;
use super::visit::{Here, Visit};
use crate::control::Control;
use crate::control::error::ControlError;
use crate::control::limits::ClientAddress;
use crate::control::{NewGrant, NewMember, NewResources};
use crate::domain::ids::MemberId;
use crate::domain::role::{Action, Assigned, Grants, Role};
use crate::store::directory::Page as Span;
use crate::store::members::Member;

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
pub(super) async fn list(State(control): State<Arc<Control>>, Here(visit): Here) -> Page {
    let after = visit.query("after");
    let span = Span {
        after,
        limit: PAGE_ITEMS + 1,
    };
    let mut found = control.members(&visit.actor, &visit.workspace.id, span).await?;
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

/// One role of a form: whether it is given, and for what.
struct RoleChoice {
    name: &'static str,
    title: &'static str,
    opens: &'static str,
    for_sources: bool,
    given: bool,
    listed: bool,
    ids: String,
    error: Option<String>,
}

const fn opens(role: Role) -> &'static str {
    match role {
        Role::WorkspaceOwner => "Everything: OAuth apps, sources, members and the audit trail.",
        Role::WorkspaceMember => "Belongs to the workspace. Other roles say what they see.",
        Role::SourceAdmin => "Edits OAuth apps; connects, observes and enforces the sources below.",
        Role::SourceReadOnly => "Views OAuth apps and the sources below.",
        Role::FunctionAdmin => {
            "Edits OAuth apps; connects, observes and enforces the source functions below."
        }
        Role::FunctionReadOnly => "Views OAuth apps and the source functions below.",
    }
}

/// The roles of a form, as held or as typed. Problems are named `roles[n]` in the order they were sent.
fn role_choices(held: Option<&Grants>, typed: Option<&Fields>, problems: &Problems) -> Vec<RoleChoice> {
    let mut sent = 0;
    let choice = |role: Role| {
        let name = role.as_str();
        let grant = held.and_then(|held| held.iter().find(|grant| grant.role == role));
        let (given, listed, ids) = match (typed, grant.map(|grant| &grant.resources)) {
            (Some(typed), _) => (
                typed.ticked(&format!("role.{name}")),
                typed.text(&format!("which.{name}")) == "listed",
                typed.text(&format!("ids.{name}")).to_owned(),
            ),
            (None, None) => (false, false, String::new()),
            (None, Some(Assigned::All)) => (true, false, String::new()),
            (None, Some(Assigned::Listed(ids))) => {
                let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
                (true, true, ids.join("\n"))
            }
        };
        let at = sent;
        sent += usize::from(given);
        let problem = |part: &str| problems.of_field(&format!("roles[{at}].{part}"));
        let error = if given {
            problem("resources").or_else(|| problem("role"))
        } else {
            None
        };
        RoleChoice {
            name,
            title: role.title(),
            opens: opens(role),
            for_sources: role.is_for_sources(),
            given,
            listed,
            ids,
            error: error.map(super::parts::sentence),
        }
    };
    Role::ALL.map(choice).into()
}

/// The roles that a form gives.
fn grants_of(fields: &Fields) -> Vec<NewGrant> {
    let given = Role::ALL
        .into_iter()
        .filter(|role| fields.ticked(&format!("role.{}", role.as_str())));
    let grant = |role: Role| {
        let name = role.as_str();
        let resources = role.is_for_sources().then(|| {
            if fields.text(&format!("which.{name}")) == "listed" {
                let ids = fields.text(&format!("ids.{name}"));
                NewResources::Listed(
                    ids.split([' ', ',', '\r', '\n'])
                        .filter(|id| !id.is_empty())
                        .map(str::to_owned)
                        .collect(),
                )
            } else {
                NewResources::Word("all".to_owned())
            }
        });
        NewGrant {
            role: name.to_owned(),
            resources,
        }
    };
    given.map(grant).collect()
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

fn member_page(
    visit: &Visit,
    member: Option<&Member>,
    typed: Option<&Fields>,
    problems: &Problems,
) -> MemberPage {
    let title = member.map_or("Invite a member", |_| "Roles");
    let email = typed.map(|typed| typed.text("email")).unwrap_or_default();
    let beside = problems.is_below("roles[") || problems.of_field("email").is_some();
    MemberPage {
        frame: visit.frame(title, Section::Members),
        problem: if beside {
            String::new()
        } else {
            problems.of_form(&["roles"])
        },
        roles_problem: problems.of_field("roles").map(super::parts::sentence),
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
        roles: role_choices(member.map(|member| &member.grants), typed, problems),
    }
}

/// `GET members/invite`.
pub(super) async fn invite_form(Here(visit): Here) -> Page {
    visit.must(Action::ManageMembers)?;
    Ok(page(
        StatusCode::OK,
        &member_page(&visit, None, None, &Problems::none()),
    ))
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
pub(super) async fn invite(
    State(control): State<Arc<Control>>,
    Here(visit): Here,
    Posted(fields): Posted,
) -> Page {
    let new = NewMember {
        email: fields.text("email").to_owned(),
        roles: grants_of(&fields),
    };
    match control
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
            Ok(page(
                problems.status,
                &member_page(&visit, None, Some(&fields), &problems),
            ))
        }
    }
}

fn id_of(visit: &Visit) -> Result<MemberId, Fault> {
    Ok(MemberId::parse(visit.in_path("id")).map_err(|_| ControlError::NotFound("member"))?)
}

async fn of_path(control: &Control, visit: &Visit) -> Result<Member, Fault> {
    visit.must(Action::ManageMembers)?;
    Ok(control
        .member(&visit.actor, &visit.workspace.id, &id_of(visit)?)
        .await?)
}

/// `GET members/{id}`.
pub(super) async fn show(State(control): State<Arc<Control>>, Here(visit): Here) -> Page {
    let member = of_path(&control, &visit).await?;
    Ok(page(
        StatusCode::OK,
        &member_page(&visit, Some(&member), None, &Problems::none()),
    ))
}

/// `POST members/{id}`.
pub(super) async fn save(
    State(control): State<Arc<Control>>,
    Here(visit): Here,
    Posted(fields): Posted,
) -> Page {
    let id = id_of(&visit)?;
    let actor = visit.actor_who_saw(&fields);
    match control
        .update_member(&actor, &visit.workspace.id, &id, &grants_of(&fields))
        .await
    {
        Ok(_) => Ok(visit.done("/members", "member-saved")),
        Err(error) => {
            let problems = Problems::of(error)?;
            let member = of_path(&control, &visit).await?;
            Ok(page(
                problems.status,
                &member_page(&visit, Some(&member), Some(&fields), &problems),
            ))
        }
    }
}

async fn remove_page(control: &Control, visit: &Visit, problems: &Problems) -> Result<Confirm, Fault> {
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
            "Their API tokens for it end. Their sessions and other workspaces stay.".to_owned(),
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
pub(super) async fn remove_form(State(control): State<Arc<Control>>, Here(visit): Here) -> Page {
    Ok(page(
        StatusCode::OK,
        &remove_page(&control, &visit, &Problems::none()).await?,
    ))
}

/// `POST members/{id}/remove`.
pub(super) async fn remove(
    State(control): State<Arc<Control>>,
    Here(visit): Here,
    Posted(_): Posted,
) -> Page {
    match control
        .remove_member(&visit.actor, &visit.workspace.id, &id_of(&visit)?)
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
}

fn join_page(problems: &Problems, secret: &str) -> JoinPage {
    JoinPage {
        problem: problems.of_form(&["secret", "password"]),
        secret: Field::text("secret", "Invitation")
            .hint("Begins with pci_. It is the end of the link that you were sent.")
            .value(secret)
            .problem(problems.of_field("secret")),
        password: Field::text("password", "Password")
            .kind("password")
            .autocomplete("new-password")
            .hint("New here: choose one. If you have a password on this server already, enter that one.")
            .problem(problems.of_field("password")),
    }
}

/// `GET /console/join`.
pub(super) async fn join_form() -> Page {
    Ok(page(StatusCode::OK, &join_page(&Problems::none(), "")))
}

/// `POST /console/join`.
pub(super) async fn join(State(control): State<Arc<Control>>, request: Request) -> Page {
    let from = request.extensions().get::<ClientAddress>().map(|from| from.0);
    let fields = Fields::read(request).await?;
    let password = Zeroizing::new(fields.raw("password").to_owned());
    match control
        .accept_invitation(from, fields.text("secret"), &password)
        .await
    {
        Ok(member) => {
            let next = format!("/console/w/{}?done=welcome", member.workspace);
            let next = super::parts::encoded(inside(&next));
            Ok(see_other(&format!("/console/sign-in?done=joined&next={next}")))
        }
        Err(error) => {
            let problems = Problems::of(error)?;
            Ok(page(
                problems.status,
                &join_page(&problems, fields.text("secret")),
            ))
        }
    }
}
