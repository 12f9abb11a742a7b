//! Members: the list, their roles and the resources of those, and invitations.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use crate::control::accounts::invitations::NewMember;
use crate::control::error::ControlError;
use crate::control::http::console::answer::{answered, refused, shown};
use crate::control::http::console::components::{Field, Listing, Pager, When};
use crate::control::http::console::confirm::{Confirm, Crumb};
use crate::control::http::console::fault::{Fault, Page, Problems};
use crate::control::http::console::fields::Fields;
use crate::control::http::console::form::Posted;
use crate::control::http::console::frame::{Frame, Section};
use crate::control::http::console::grants::{Given, RoleChoice, grants_of, is_search, role_choices};
use crate::control::http::console::notice::Notice;
use crate::control::http::console::paths;
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::domain::decimal::canonical;
use crate::domain::ids::MemberId;
use crate::domain::role::{Action, Assigned, Grants, Role};
use crate::model::member::Member;

#[derive(Template)]
#[template(path = "members/list.html")]
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
    let listing = Listing {
        path: visit.to.members(),
        query: &[],
        after: visit.query("after"),
    };
    let mut found = control
        .members
        .list(&visit.actor, &visit.workspace.id, listing.span())
        .await?;
    let pager = Pager::cut(&mut found, "members", &listing, |member| member.id.as_str());
    let row = |member: Member| MemberRow {
        id: member.id.to_string(),
        roles: role_words(&member.grants),
        joined: member.joined_at.map(|at| When::ago(at, visit.now)),
        own: member.id == visit.member.id,
        email: member.email,
    };
    shown(&MembersPage {
        frame: visit.frame("Members", Section::Members),
        members: found.into_iter().map(row).collect(),
        pager,
    })
}

#[derive(Template)]
#[template(path = "members/roles.html")]
struct MemberPage {
    frame: Frame,
    problem: String,
    roles_problem: Option<String>,
    /// The field of an invitation; none for an existing member.
    email: Option<Field>,
    member_email: String,
    member_id: String,
    joined: bool,
    /// Whether an owner is about to remove their own Workspace Owner role.
    gives_up: bool,
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
    let has_field = problems.is_below("roles[") || problems.of_field("email").is_some();
    Ok(MemberPage {
        frame: visit.frame(title, Section::Members),
        problem: if has_field {
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
                .hint("The person to invite. They sign in with this address.")
                .value(email)
                .problem(problems.of_field("email"))
        }),
        member_email: member.map(|member| member.email.clone()).unwrap_or_default(),
        member_id: member.map(|member| member.id.to_string()).unwrap_or_default(),
        joined: member.is_some_and(|member| member.joined_at.is_some()),
        gives_up: false,
        revision: member.map_or(0, |member| member.revision),
        roles: role_choices(control, visit, &given).await?,
    })
}

/// The form again, after a search for sources: nothing is saved, and all input is kept.
async fn searched(control: &Control, visit: &PageContext, member: Option<&Member>, fields: &Fields) -> Page {
    let mut answer = member_page(control, visit, member, Some(fields), &Problems::none()).await?;
    // The revision that the member saw: a change saved since then is still a conflict.
    answer.revision = canonical(fields.text("revision")).unwrap_or(0);
    shown(&answer)
}

/// `GET members/invite`.
pub(crate) async fn invite_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    visit.require(Action::ManageMembers)?;
    let answer = member_page(&control, &visit, None, None, &Problems::none()).await?;
    shown(&answer)
}

#[derive(Template)]
#[template(path = "members/invited.html")]
struct InvitedPage {
    frame: Frame,
    email: String,
    link: String,
    expires: When,
}

/// `POST members/invite`. The response shows the link, once.
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
        Ok(invited) => shown(&InvitedPage {
            frame: visit.frame("Invitation created", Section::Members),
            email: invited.member.email.clone(),
            link: format!("{}{}#{}", control.issuer(), paths::JOIN, invited.expose()),
            expires: When::ago(invited.expires_at, visit.now),
        }),
        Err(error) => {
            refused(Problems::of(error)?, async |problems| {
                member_page(&control, &visit, None, Some(&fields), &problems).await
            })
            .await
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
    shown(&answer)
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
    let roles = grants_of(&fields);
    let stays_owner = roles
        .iter()
        .any(|grant| grant.role == Role::WorkspaceOwner.as_str());
    let gives_up = id == visit.member.id && !stays_owner && visit.may(Action::ManageMembers);
    if gives_up && !fields.ticked("give_up") {
        let member = of_path(&control, &visit).await?;
        let mut answer =
            member_page(&control, &visit, Some(&member), Some(&fields), &Problems::none()).await?;
        answer.gives_up = true;
        answer.revision = canonical(fields.text("revision")).unwrap_or(0);
        return shown(&answer);
    }
    let updated = control
        .members
        .update(&actor, &visit.workspace.id, &id, &roles)
        .await;
    answered(
        updated,
        |_| {
            // Who gave up the role may not open the list any more.
            let next = if gives_up {
                visit.to.overview()
            } else {
                visit.to.members()
            };
            visit.done(&next, Notice::MemberSaved)
        },
        async |problems| {
            let member = of_path(&control, &visit).await?;
            member_page(&control, &visit, Some(&member), Some(&fields), &problems).await
        },
    )
    .await
}

async fn remove_page(control: &Control, visit: &PageContext, problems: &Problems) -> Result<Confirm, Fault> {
    let member = of_path(control, visit).await?;
    let invited = member.joined_at.is_none();
    let will = if invited {
        vec![format!("The invitation link of {} stops working.", member.email)]
    } else {
        vec![
            format!("{} loses access to this workspace immediately.", member.email),
            "Their API tokens for this workspace are revoked, and their sessions no longer open it. Their other workspaces are not affected."
                .to_owned(),
            "Their apps and sources remain. The audit trail keeps their changes.".to_owned(),
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
        crumbs: vec![Crumb::new(visit.to.members(), "Members")],
        problem: problems.of_form(&[]),
        will,
        links: Vec::new(),
        fields: Vec::new(),
        button: if invited {
            "Withdraw invitation"
        } else {
            "Remove member"
        },
        destroys: true,
        back: visit.to.member(&member.id),
    })
}

/// `GET members/{id}/remove`.
pub(crate) async fn remove_form(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
) -> Page {
    shown(&remove_page(&control, &visit, &Problems::none()).await?)
}

/// `POST members/{id}/remove`.
pub(crate) async fn remove(
    State(control): State<Arc<Control>>,
    CurrentVisit(visit): CurrentVisit,
    Posted(_): Posted,
) -> Page {
    let invited = of_path(&control, &visit).await?.joined_at.is_none();
    answered(
        control
            .members
            .remove(&visit.actor, &visit.workspace.id, &id_of(&visit)?)
            .await,
        |()| {
            visit.done(
                &visit.to.members(),
                if invited {
                    Notice::InvitationWithdrawn
                } else {
                    Notice::MemberRemoved
                },
            )
        },
        async |problems| remove_page(&control, &visit, &problems).await,
    )
    .await
}
