//! The page about edges: what runs, and revoking an edge.

use super::store;
use super::support::product::{Quickstart, quickstart_data};
use super::visitor::{Visitor, text};

#[test]
fn edges_are_listed_with_their_state_and_revoked() {
    let data = quickstart_data();
    let product = Quickstart::start_with(data.path(), &["127.0.0.1:0"; 4], &["--edges", "1"], &[]);
    let env = &product.env;
    let at = format!("/console/w/{}", env.get("WORKSPACE_ID"));
    let mut owner = Visitor::owner(env);
    assert!(text(&owner.get(&at)).contains(&format!("href=\"{at}/edges\"")));
    let listed = text(&owner.get(&format!("{at}/edges")));
    assert!(
        listed.contains("Bundled gateway") && listed.contains("edge-1"),
        "{listed}"
    );
    assert_eq!(listed.matches(">Current<").count(), 2, "{listed}");
    let revoke = listed
        .split("href=\"")
        .find(|rest| rest.contains("/revoke\""))
        .unwrap();
    let revoke = revoke.split('"').next().unwrap().to_owned();
    assert!(text(&owner.get(&revoke)).contains("Revokes edge-1."));
    let csrf = owner.csrf(&revoke);
    assert_eq!(owner.post(&revoke, &[("csrf", &csrf)]).status(), 303);
    let listed = text(&owner.get(&format!("{at}/edges")));
    assert!(
        !listed.contains("edge-1") && listed.contains("Bundled gateway"),
        "{listed}"
    );
    assert_eq!(owner.get(&revoke).status(), 404);
    product.process.stop();
}

#[test]
fn edges_are_not_shown_to_owners_of_some_workspaces() {
    let data = quickstart_data();
    let others = "INSERT INTO workspaces (id, name, created_at) VALUES ('ws_of_others', 'Others', 1)";
    store::run(data.path(), &[others.to_owned()]);
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let at = format!("/console/w/{}", env.get("WORKSPACE_ID"));
    let mut owner = Visitor::owner(env);
    assert!(!text(&owner.get(&at)).contains("/edges\""));
    assert_eq!(owner.get(&format!("{at}/edges")).status(), 403);
    product.stop();
}
