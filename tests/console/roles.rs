//! Each of the six roles, invited through the console: the pages it may open, and no other.

use super::support::product::{Env, Quickstart, quickstart_data};
use super::support::secrets;
use super::visitor::{Visitor, text};

pub const PASSWORD: &str = "a sentence that nobody guesses";

/// Roles in the order of the columns below.
pub const ROLES: [&str; 6] = [
    "workspace_owner",
    "workspace_member",
    "source_admin",
    "source_read_only",
    "function_admin",
    "function_read_only",
];

/// The pages that each role may open: `y` yes, `-` no. Columns in the order of [`ROLES`].
const PAGES: [(&str, &str); 25] = [
    ("", "yyyyyy"),
    ("/account", "yyyyyy"),
    ("/apps", "y-yyyy"),
    ("/apps/new", "y-----"),
    ("/apps/APP", "y-yyyy"),
    ("/apps/APP/settings", "y-yyyy"),
    ("/apps/APP/client", "y-yyyy"),
    ("/apps/APP/revoke", "y-y-y-"),
    ("/apps/APP/keys/new", "y-y-y-"),
    ("/sources/new", "y-----"),
    ("/sources/SOURCE/oauth", "y-yy--"),
    ("/sources/SOURCE/oauth/on", "y-y---"),
    ("/sources/SOURCE/delete", "y-----"),
    ("/sources/FUNCTION/oauth", "y---yy"),
    ("/sources/FUNCTION/oauth/connect", "y---y-"),
    ("/members", "y-----"),
    ("/audit", "y-----"),
    ("/edges", "y-----"),
    ("/signing-keys", "y-----"),
    ("/signing-keys/rotate", "y-----"),
    ("/signing-keys/end", "y-----"),
    ("/leaked-tokens", "y-----"),
    ("/leaked-tokens/revoke-all", "y-----"),
    ("/api-tokens", "y-----"),
    ("/apps/APP/revoke-all", "y-y-y-"),
];

/// Invites a person through the pages, who joins. Returns the e-mail address.
pub fn invite(env: &Env, owner: &mut Visitor, role: &str) -> String {
    secrets::note([PASSWORD]);
    let at = format!("/console/w/{}", env.get("WORKSPACE_ID"));
    let csrf = owner.csrf(&format!("{at}/members/invite"));
    let email = format!("{}@roles.example", role.replace('_', "-"));
    let given = format!("role.{role}");
    let which = format!("which.{role}");
    let fields = [
        ("csrf", csrf.as_str()),
        ("email", &email),
        (&given, "on"),
        (&which, "all"),
    ];
    let answer = owner.post(&format!("{at}/members/invite"), &fields);
    assert_eq!(answer.status(), 200, "{role}");
    let page = text(&answer);
    let at = page.find("#pci_").expect("an invitation") + 1;
    let secret: String = page[at..]
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    secrets::note([secret.as_str()]);
    let mut visitor = Visitor::new(env);
    let joined = visitor.post("/console/join", &[("secret", &secret), ("password", PASSWORD)]);
    assert_eq!(joined.status(), 303, "{role}: {}", text(&joined));
    email
}

fn sign_in(env: &Env, email: &str) -> Visitor {
    let mut visitor = Visitor::new(env);
    assert_eq!(visitor.sign_in(email, PASSWORD, "").status(), 303, "{email}");
    visitor
}

#[test]
fn each_role_opens_the_pages_it_may() {
    let data = quickstart_data();
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let at = format!("/console/w/{}", env.get("WORKSPACE_ID"));
    let mut owner = Visitor::owner(env);
    for (column, role) in ROLES.into_iter().enumerate() {
        let email = invite(env, &mut owner, role);
        let mut visitor = sign_in(env, &email);
        for (path, allowed) in PAGES {
            let path = path
                .replace("APP", env.get("CLIENT_ID"))
                .replace("SOURCE", &env.source("Website"))
                .replace("FUNCTION", &env.source("Webhook"));
            let page = visitor.get(&format!("{at}{path}"));
            if allowed.as_bytes()[column] == b'y' {
                assert_eq!(page.status(), 200, "{role} {path}");
            } else {
                assert!(
                    [403, 404].contains(&page.status()),
                    "{role} {path}: {}",
                    page.status()
                );
                if page.status() == 403 {
                    assert!(
                        text(&page).contains(env.get("OWNER_EMAIL")),
                        "{role} {path} names an owner"
                    );
                }
            }
        }
        let settings = text(&visitor.get(&format!("{at}/apps/{}/settings", env.get("CLIENT_ID"))));
        let may_edit = ["workspace_owner", "source_admin", "function_admin"].contains(&role);
        assert_eq!(settings.contains("Save changes"), may_edit, "{role}");
        forged(env, &mut visitor, role, may_edit);
    }
    product.stop();
}

/// Sends forms that the role is not shown.
fn forged(env: &Env, visitor: &mut Visitor, role: &str, may_edit: bool) {
    let at = format!("/console/w/{}", env.get("WORKSPACE_ID"));
    let csrf = visitor.csrf(&at);
    let source = env.source("Website");
    let attempts = [
        (format!("{at}/sources/{source}/delete"), role == "workspace_owner"),
        (format!("{at}/members/invite"), role == "workspace_owner"),
        (format!("{at}/signing-keys/rotate"), role == "workspace_owner"),
        (format!("{at}/signing-keys/end"), role == "workspace_owner"),
        (
            format!("{at}/leaked-tokens/leak_1/dismiss"),
            role == "workspace_owner",
        ),
        (
            format!("{at}/sources/{source}/oauth/off"),
            ["workspace_owner", "source_admin"].contains(&role),
        ),
        (format!("{at}/apps/{}/settings", env.get("CLIENT_ID")), may_edit),
    ];
    for (path, allowed) in attempts.iter().filter(|(_, allowed)| !allowed) {
        let answer = visitor.post(
            path,
            &[("csrf", &csrf), ("name", "x"), ("email", "x@example.com")],
        );
        assert!(
            !allowed && [403, 404].contains(&answer.status()),
            "{role} {path}: {}",
            answer.status()
        );
    }
}
