//! Signing keys and leaked tokens: what is shown, what a step says before it is taken, and what it does.

use super::store;
use super::support::product::{Env, Quickstart, quickstart_data};
use super::support::secrets;
use super::visitor::{Visitor, hidden, text};

fn at(env: &Env) -> String {
    format!("/console/w/{}", env.get("WORKSPACE_ID"))
}

fn post(visitor: &mut Visitor, path: &str) -> u16 {
    let csrf = visitor.csrf(path);
    visitor.post(path, &[("csrf", &csrf)]).status()
}

#[test]
fn signing_keys_are_rotated_and_revoked_with_their_tokens() {
    let data = quickstart_data();
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let mut owner = Visitor::owner(env);
    let keys = format!("{}/signing-keys", at(env));
    let token = env.token("", "tracking_api:write");
    secrets::note([token.as_str()]);
    assert_eq!(env.event("WRITE_KEY").bearer(&token).send().status(), 200);
    let overview = text(&owner.get(&at(env)));
    assert!(overview.contains(&keys) && overview.contains("/leaked-tokens"));
    let listed = text(&owner.get(&keys));
    assert_eq!(listed.matches(">Signing<").count(), 1);
    assert!(
        listed.contains("data-label=\"Active tokens\" class=\"num\">1</td>"),
        "{listed}"
    );

    let rotate = format!("{keys}/rotate");
    assert!(text(&owner.get(&rotate)).contains("No active tokens are affected"));
    assert_eq!(post(&mut owner, &rotate), 303);
    let listed = text(&owner.get(&keys));
    assert!(listed.contains(">Next<") && !listed.contains(">Rotate now<"));
    let again = text(&owner.get(&rotate));
    assert!(again.contains("already published") && !again.contains(">Rotate now<"));

    let id = listed
        .split("/signing-keys/")
        .find_map(|rest| rest.split_once("/end\""));
    let end = format!("{keys}/{}/end", id.unwrap().0);
    let page = text(&owner.get(&end));
    assert!(
        page.contains("1 active token stops working")
            && page.contains("0 active tokens of other keys keep working"),
        "{page}"
    );
    assert!(page.contains("The next key takes over now"));
    assert_eq!(
        env.event("WRITE_KEY").bearer(&token).send().status(),
        200,
        "only looked at"
    );
    assert_eq!(post(&mut owner, &end), 303);
    assert_eq!(env.event("WRITE_KEY").bearer(&token).send().status(), 401);
    assert_eq!(owner.get(&end).status(), 404, "revoked already");
    let fresh = env.token("", "tracking_api:write");
    assert_eq!(env.event("WRITE_KEY").bearer(&fresh).send().status(), 200);
    let all = format!("{keys}/end");
    let page = text(&owner.get(&all));
    assert!(
        page.contains("Revokes all signing keys. 1 active token stops working"),
        "{page}"
    );
    assert_eq!(post(&mut owner, &all), 422, "not confirmed");
    assert_eq!(env.event("WRITE_KEY").bearer(&fresh).send().status(), 200);
    let csrf = owner.csrf(&all);
    let confirmed = owner.post(&all, &[("csrf", &csrf), ("confirm", "Revoke all")]);
    assert_eq!(confirmed.status(), 303);
    assert_eq!(env.event("WRITE_KEY").bearer(&fresh).send().status(), 401);
    product.stop();
}

#[test]
fn signing_keys_are_read_only_for_owners_of_some_workspaces() {
    let data = quickstart_data();
    let others = "INSERT INTO workspaces (id, name, created_at) VALUES ('ws_of_others', 'Others', 1)";
    store::run(data.path(), &[others.to_owned()]);
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let mut owner = Visitor::owner(env);
    let keys = format!("{}/signing-keys", at(env));
    let listed = text(&owner.get(&keys));
    assert!(listed.contains(">Signing<") && listed.contains("ask the operator of this server"));
    assert!(!listed.contains("/rotate") && !listed.contains("/end\"") && !listed.contains("Active tokens"));
    let csrf = owner.csrf(&at(env));
    for path in [format!("{keys}/rotate"), format!("{keys}/end")] {
        let page = owner.get(&path);
        assert_eq!(page.status(), 403, "{path}");
        assert!(text(&page).contains("ask the operator of this server"));
        assert_eq!(owner.post(&path, &[("csrf", &csrf)]).status(), 403, "{path}");
    }
    assert_eq!(
        text(&owner.get(&keys)).matches("scope=\"row\"").count(),
        1,
        "nothing was changed"
    );
    product.stop();
}

#[test]
fn leak_notices_are_escaped_and_dismissed_one_by_one() {
    let data = quickstart_data();
    let env = Env::read(&data.join("env"));
    let long = format!("https://example.com/{}", "x".repeat(2_000));
    let places = [
        ("https://example.com/repo/file", "commit"),
        (
            "https://evil.example/\"><script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
        ),
        ("javascript:alert(1)", "\u{202e}tsig"),
        (long.as_str(), "مصدر"),
    ];
    let rows: Vec<String> = places
        .iter()
        .zip(1..)
        .map(|((url, source), number)| store::notice(&env, number, url, source))
        .collect();
    store::run(data.path(), &rows);
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let mut owner = Visitor::owner(env);
    let leaked = format!("{}/leaked-tokens", at(env));
    assert!(text(&owner.get(&at(env))).contains("4 found in public"));
    let page = text(&owner.get(&leaked));
    assert!(!page.contains("<script>") && !page.contains("<img"));
    assert!(
        !page.contains("href=\"javascript"),
        "only https addresses are links"
    );
    assert!(page.contains("href=\"https://example.com/repo/file\" rel=\"noreferrer noopener\""));
    // Text direction is isolated.
    assert!(page.contains("<bdi>\u{202e}tsig</bdi>") && page.contains("<bdi>مصدر</bdi>"));
    assert!(page.contains(&long) && page.contains("Quickstart app"));
    let csrf = owner.csrf(&leaked);
    let dismiss = |number: u32| format!("{leaked}/leak_{number:032x}/dismiss");
    assert_eq!(owner.post(&dismiss(2), &[("csrf", "wrong")]).status(), 403);
    assert_eq!(owner.post(&dismiss(2), &[("csrf", &csrf)]).status(), 303);
    assert_eq!(owner.post(&dismiss(9), &[("csrf", &csrf)]).status(), 404);
    let page = text(&owner.get(&leaked));
    assert!(!page.contains("evil.example") && page.contains("example.com/repo/file"));
    assert!(text(&owner.get(&at(env))).contains("3 found in public"));
    product.stop();
}

#[test]
fn pasted_credentials_are_identified_and_revoked() {
    let data = quickstart_data();
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let mut owner = Visitor::owner(env);
    let path = format!("/console/w/{}/leaked-tokens", env.get("WORKSPACE_ID"));
    let csrf = owner.csrf(&path);
    let token = env.token("", "tracking_api:write");
    assert_eq!(env.event("WRITE_KEY").bearer(&token).send().status(), 200);

    let mut identify = |text: &str| {
        let page = owner.post(&path, &[("csrf", &csrf), ("credential", text)]);
        (page.status(), super::visitor::text(&page))
    };
    let (status, page) = identify(&token[..token.len() - 3]);
    assert_eq!(status, 200);
    assert!(
        page.contains("This is not a credential of this workspace"),
        "{page}"
    );
    assert!(!page.contains(&token[..40]), "the pasted token comes back");
    let (_, page) = identify(&format!("\"Authorization: Bearer {token}\""));
    assert!(
        page.contains("Access token") && page.contains(">Active<"),
        "{page}"
    );
    assert!(!page.contains(&token[..40]), "the pasted token comes back");
    assert_eq!(env.event("WRITE_KEY").bearer(&token).send().status(), 200);
    let (app, id) = (hidden(&page, "app"), hidden(&page, "id"));
    let revoke = format!("{path}/revoke");
    let fields = [
        ("csrf", csrf.as_str()),
        ("kind", "access_token"),
        ("app", &app),
        ("id", &id),
    ];
    assert_eq!(owner.post(&revoke, &fields).status(), 303);
    let refused = env.event("WRITE_KEY").bearer(&token).send();
    assert_eq!(refused.status(), 401);
    let mut identify = |text: &str| {
        let page = owner.post(&path, &[("csrf", &csrf), ("credential", text)]);
        super::visitor::text(&page)
    };
    assert!(identify(&token).contains(">Revoked<"));
    assert!(identify(&id).contains(">Revoked<"), "the ID alone");
    let page = identify(env.get("WRITE_KEY"));
    assert!(page.contains("A write key is not a secret"), "{page}");
    let private = std::fs::read_to_string(env.get("PRIVATE_KEY_FILE")).unwrap();
    let page = identify(&private);
    assert!(page.contains("Whoever has it can get access tokens") && !page.contains("BEGIN PRIVATE"));
    assert!(identify("pcl_nothing").contains("This is not a credential"));
    product.stop();
}

#[test]
fn owners_revoke_leaked_api_tokens_of_any_member() {
    let data = quickstart_data();
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let mut owner = Visitor::owner(env);
    let at = at(env);
    let leaked = format!("{at}/leaked-tokens");
    let (_, token) = super::account::joined(env, &mut owner, &at, "leaky@roles.example");
    assert!(super::account::works(env, &token));
    let listed = text(&owner.get(&format!("{at}/api-tokens")));
    assert!(
        listed.contains("leaky@roles.example") && listed.contains(&token[..8]) && !listed.contains(&token),
        "{listed}"
    );
    let csrf = owner.csrf(&leaked);
    let page = text(&owner.post(&leaked, &[("csrf", &csrf), ("credential", &token)]));
    assert!(
        page.contains("leaky@roles.example") && page.contains(">Active<"),
        "{page}"
    );
    assert!(!page.contains(&token));
    let id = hidden(&page, "id");
    let fields = [
        ("csrf", csrf.as_str()),
        ("kind", "api_token"),
        ("app", ""),
        ("id", &id),
    ];
    assert_eq!(owner.post(&format!("{leaked}/revoke"), &fields).status(), 303);
    assert!(!super::account::works(env, &token));
    let page = text(&owner.post(&leaked, &[("csrf", &csrf), ("credential", &token)]));
    assert!(page.contains("API token that does not work"), "{page}");
    product.stop();
}

#[test]
fn all_tokens_of_an_app_or_the_workspace_are_revoked() {
    let data = quickstart_data();
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let mut owner = Visitor::owner(env);
    let at = at(env);
    let app = format!("{at}/apps/{}", env.get("CLIENT_ID"));
    let key = format!("{app}/keys/{}/revoke", env.get("KEY_ID"));
    let all = format!("{at}/leaked-tokens/revoke-all");
    for path in [format!("{app}/revoke-all"), key, all.clone()] {
        let token = env.token("", "tracking_api:write");
        secrets::note([token.as_str()]);
        assert_eq!(
            env.event("WRITE_KEY").bearer(&token).send().status(),
            200,
            "{path}"
        );
        let csrf = owner.csrf(&path);
        if path == all {
            assert_eq!(
                owner.post(&path, &[("csrf", &csrf)]).status(),
                422,
                "not confirmed"
            );
        } else {
            assert!(text(&owner.get(&path)).contains("active token"), "{path}");
        }
        let done = owner.post(&path, &[("csrf", &csrf), ("confirm", "revoke all")]);
        assert_eq!(done.status(), 303, "{path}: {}", text(&done));
        assert_eq!(
            env.event("WRITE_KEY").bearer(&token).send().status(),
            401,
            "{path}"
        );
    }
    product.stop();
}
