//! Signing keys and leaked tokens in the console: what is shown, what a step says before it is taken, and what it
//! does.

use super::store;
use super::support::product::{Env, Quickstart, quickstart_data};
use super::support::secrets;
use super::visitor::{Visitor, text};

fn at(env: &Env) -> String {
    format!("/console/w/{}", env.get("WORKSPACE_ID"))
}

fn post(visitor: &mut Visitor, path: &str) -> u16 {
    let csrf = visitor.csrf(path);
    visitor.post(path, &[("csrf", &csrf)]).status()
}

#[test]
fn signing_keys_are_rotated_and_ended_and_numbers_say_what_ends() {
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
        listed.contains("data-label=\"Live tokens\" class=\"num\">1</td>"),
        "{listed}"
    );

    let rotate = format!("{keys}/rotate");
    assert!(text(&owner.get(&rotate)).contains("0 live tokens stop working"));
    assert_eq!(post(&mut owner, &rotate), 303);
    let listed = text(&owner.get(&keys));
    assert!(listed.contains(">Next<") && !listed.contains(">Rotate now<"));
    let again = text(&owner.get(&rotate));
    assert!(again.contains("is made already") && !again.contains(">Rotate now<"));

    let id = listed
        .split("/signing-keys/")
        .find_map(|rest| rest.split_once("/end\""));
    let end = format!("{keys}/{}/end", id.unwrap().0);
    let page = text(&owner.get(&end));
    assert!(
        page.contains("1 live token stops working") && page.contains("0 live tokens of other keys stay"),
        "{page}"
    );
    assert!(page.contains("The next key begins to sign now"));
    assert_eq!(
        env.event("WRITE_KEY").bearer(&token).send().status(),
        200,
        "only looked at"
    );
    assert_eq!(post(&mut owner, &end), 303);
    assert_eq!(env.event("WRITE_KEY").bearer(&token).send().status(), 401);
    assert_eq!(owner.get(&end).status(), 404, "ended already");
    let fresh = env.token("", "tracking_api:write");
    assert_eq!(env.event("WRITE_KEY").bearer(&fresh).send().status(), 200);
    let all = format!("{keys}/end");
    assert!(text(&owner.get(&all)).contains("Every signing key ends: 1 live token stops working"));
    assert_eq!(post(&mut owner, &all), 303);
    assert_eq!(env.event("WRITE_KEY").bearer(&fresh).send().status(), 401);
    product.stop();
}

#[test]
fn who_does_not_own_every_workspace_sees_the_keys_and_is_told_whom_to_ask() {
    let data = quickstart_data();
    let others = "INSERT INTO workspaces (id, name, created_at) VALUES ('ws_of_others', 'Others', 1)";
    store::run(data.path(), &[others.to_owned()]);
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let mut owner = Visitor::owner(env);
    let keys = format!("{}/signing-keys", at(env));
    let listed = text(&owner.get(&keys));
    assert!(listed.contains(">Signing<") && listed.contains("ask the operator of this server"));
    assert!(!listed.contains("/rotate") && !listed.contains("/end\"") && !listed.contains("Live tokens"));
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
fn notices_of_leaked_tokens_are_told_as_text_and_dismissed_one_by_one() {
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
        "what is no web page is no link"
    );
    assert!(page.contains("href=\"https://example.com/repo/file\" rel=\"noreferrer noopener\""));
    // What turns the direction of text does so for itself alone.
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
fn a_token_that_somebody_has_found_ends_whichever_app_it_is_of() {
    let data = quickstart_data();
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let mut owner = Visitor::owner(env);
    let path = format!("/console/w/{}/leaked-tokens", env.get("WORKSPACE_ID"));
    let csrf = owner.csrf(&path);
    let token = env.token("", "tracking_api:write");
    assert_eq!(env.event("WRITE_KEY").bearer(&token).send().status(), 200);

    let refused = owner.post(&path, &[("csrf", &csrf), ("token", &token[..token.len() - 3])]);
    assert_eq!(refused.status(), 422);
    let page = text(&refused);
    assert!(
        page.contains("This is not an access token of an OAuth app of this workspace"),
        "{page}"
    );
    assert!(!page.contains(&token[..40]), "what was pasted comes back");
    assert_eq!(env.event("WRITE_KEY").bearer(&token).send().status(), 200);

    let ended = owner.post(&path, &[("csrf", &csrf), ("token", &format!("Bearer {token}"))]);
    assert_eq!(ended.status(), 303);
    let refused = env.event("WRITE_KEY").bearer(&token).send();
    assert_eq!(refused.status(), 401);
    product.stop();
}
