//! Pages that revoke credentials say which, and revoke them.

use super::support::product::{Env, Quickstart, quickstart_data};
use super::support::secrets;
use super::support::web::{Answer, Request};
use super::visitor::{Visitor, text};

const PASSWORD: &str = "a long enough password";
const NEW_PASSWORD: &str = "another long enough password";

/// Invites a person. Returns the secret of the invitation.
fn invite(owner: &mut Visitor, at: &str, email: &str) -> String {
    let path = format!("{at}/members/invite");
    let csrf = owner.csrf(&path);
    let fields = [
        ("csrf", csrf.as_str()),
        ("email", email),
        ("role.workspace_owner", "on"),
    ];
    let page = text(&owner.post(&path, &fields));
    let from = page.find("#pci_").expect("an invitation") + 1;
    let secret: String = page[from..]
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    secrets::note([secret.as_str()]);
    secret
}

/// A member who has joined and is signed in, with an API token.
pub fn joined(env: &Env, owner: &mut Visitor, at: &str, email: &str) -> (Visitor, String) {
    let secret = invite(owner, at, email);
    let mut visitor = Visitor::new(env);
    let answer = visitor.post("/console/join", &[("secret", &secret), ("password", PASSWORD)]);
    assert_eq!(answer.status(), 303, "{}", text(&answer));
    assert_eq!(visitor.get(at).status(), 200, "joining signs in");
    let path = format!("{at}/account/tokens/new");
    let csrf = visitor.csrf(&path);
    let fields = [("csrf", csrf.as_str()), ("name", "script"), ("days", "7")];
    let page = text(&visitor.post(&path, &fields));
    let from = page.find("pcl_").expect("an API token");
    let token: String = page[from..]
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    secrets::note([token.as_str()]);
    (visitor, token)
}

pub fn works(env: &Env, token: &str) -> bool {
    let url = format!("{}/workspaces/{}", env.get("API_URL"), env.get("WORKSPACE_ID"));
    let status = Request::to("GET", &url).bearer(token).send().status();
    assert!([200, 401].contains(&status), "{status}");
    status == 200
}

/// The page that an answer leads to.
fn followed(visitor: &mut Visitor, answer: &Answer) -> String {
    assert_eq!(answer.status(), 303, "{}", text(answer));
    let to = answer.header("location").unwrap().to_owned();
    text(&visitor.get(&to))
}

#[test]
fn password_change_and_sign_out_revoke_what_they_say() {
    let data = quickstart_data();
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let at = format!("/console/w/{}", env.get("WORKSPACE_ID"));
    let account = format!("{at}/account");
    let mut owner = Visitor::owner(env);
    let (mut ada, token) = joined(env, &mut owner, &at, "ada@example.com");
    let page = text(&ada.get(&account));
    assert!(page.contains("Your e-mail address is not verified"), "{page}");
    assert!(!text(&owner.get(&account)).contains("not verified"));

    // API tokens are revoked unless the form keeps them.
    let path = format!("{account}/password");
    let change = |ada: &mut Visitor, current: &str, new: &str, keep: &[(&str, &str)]| {
        let csrf = ada.csrf(&path);
        let mut fields = vec![
            ("csrf", csrf.as_str()),
            ("current_password", current),
            ("password", new),
        ];
        fields.extend(keep);
        let answer = ada.post(&path, &fields);
        followed(ada, &answer)
    };
    let page = change(&mut ada, PASSWORD, NEW_PASSWORD, &[("keep_api_tokens", "on")]);
    assert!(page.contains("No API tokens were revoked."), "{page}");
    assert!(works(env, &token));
    let page = change(&mut ada, NEW_PASSWORD, PASSWORD, &[]);
    assert!(page.contains("1 API token was revoked."), "{page}");
    assert!(!works(env, &token));

    let (mut bob, token) = joined(env, &mut owner, &at, "bob@example.com");
    let csrf = bob.csrf(&account);
    let answer = bob.post(
        &format!("{account}/sessions/end"),
        &[("csrf", &csrf), ("api_tokens", "on")],
    );
    let page = followed(&mut bob, &answer);
    assert!(page.contains("1 API token was revoked."), "{page}");
    assert!(!works(env, &token));
    assert_eq!(bob.get(&at).status(), 303, "signed out");

    // A removed member keeps the session, which no longer opens the workspace.
    let (mut eve, token) = joined(env, &mut owner, &at, "eve@example.com");
    let members = text(&owner.get(&format!("{at}/members")));
    let before = members.split("<bdi>eve@example.com").next().unwrap();
    let id = before
        .rsplit("/members/")
        .next()
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let path = format!("{at}/members/{id}/remove");
    let csrf = owner.csrf(&path);
    let answer = owner.post(&path, &[("csrf", &csrf)]);
    let page = followed(&mut owner, &answer);
    assert!(
        page.contains(
            "Their API tokens for this workspace are revoked, and their sessions no longer open it"
        ),
        "{page}"
    );
    assert!(!works(env, &token));
    assert_ne!(eve.get(&at).status(), 200);
    product.stop();
}

#[test]
fn verified_session_joins_without_a_password() {
    let data = quickstart_data();
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let at = format!("/console/w/{}", env.get("WORKSPACE_ID"));
    let mut owner = Visitor::owner(env);
    let email = env.get("OWNER_EMAIL");
    let page = text(&owner.get("/console/join"));
    assert!(page.contains("Join as") && page.contains(email), "{page}");
    // The invitation is for another address, and the second form has no CSRF token.
    let secret = invite(&mut owner, &at, "ada@example.com");
    let csrf = owner.csrf("/console/join");
    let answer = owner.post(
        "/console/join",
        &[("secret", &secret), ("as", "own"), ("csrf", &csrf)],
    );
    assert_eq!(answer.status(), 422);
    assert!(text(&answer).contains("another email address"));
    let answer = owner.post(
        "/console/join",
        &[("secret", &secret), ("as", "own"), ("csrf", "x")],
    );
    assert_eq!(answer.status(), 403);
    // A session without a verified address needs a password.
    let (mut bob, _) = joined(env, &mut owner, &at, "bob@example.com");
    assert!(!text(&bob.get("/console/join")).contains("Join as"));
    product.stop();
}
