//! Sources in the console: finding one, whether it is ready to enforce, and the ones that deny everything.

use serde_json::json;

use super::support::product::{Env, Quickstart, quickstart_data};
use super::support::secrets;
use super::visitor::{Visitor, text};

fn at(env: &Env) -> String {
    format!("/console/w/{}", env.get("WORKSPACE_ID"))
}

#[test]
fn source_is_found_by_its_write_key_and_id() {
    let data = quickstart_data();
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let mut owner = Visitor::owner(env);
    let website = env.source("Website");
    for text_of_source in [env.get("WRITE_KEY"), website.as_str()] {
        let page = text(&owner.get(&format!("{}/sources?q={text_of_source}", at(env))));
        assert!(page.contains(&format!("/sources/{website}\"")), "{page}");
        assert_eq!(page.matches("<th scope=\"row\">").count(), 1, "{page}");
    }
    product.stop();
}

#[test]
fn sources_that_deny_everything_look_so() {
    let data = quickstart_data();
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let mut owner = Visitor::owner(env);
    let list = format!("{}/sources", at(env));
    let settings = format!("{}/apps/{}/settings", at(env), env.get("CLIENT_ID"));
    let website = format!("{list}/{}", env.source("Website"));
    assert!(!text(&owner.get(&list)).contains("Denies everything"));

    // Removing a scope that an enforced source requires has to be confirmed.
    let page = text(&owner.get(&settings));
    let (csrf, revision) = (
        super::visitor::hidden(&page, "csrf"),
        super::visitor::hidden(&page, "revision"),
    );
    let mut fields = vec![
        ("csrf", csrf.as_str()),
        ("revision", revision.as_str()),
        ("name", "Quickstart app"),
        ("token_lifetime", "1d"),
        ("scope.functions:write", "on"),
    ];
    let asked = owner.post(&settings, &fields);
    assert_eq!(asked.status(), 200);
    assert!(text(&asked).contains("A connected source requires this scope."));
    let token = env.token("", "tracking_api:write");
    secrets::note([token.as_str()]);
    assert_eq!(env.event("WRITE_KEY").bearer(&token).send().status(), 200);
    fields.push(("remove_scope", "on"));
    assert_eq!(owner.post(&settings, &fields).status(), 303);
    assert_eq!(env.event("WRITE_KEY").bearer(&token).send().status(), 403);
    for path in [&list, &website, &format!("{website}/oauth")] {
        assert!(text(&owner.get(path)).contains("Denies everything"), "{path}");
    }
    assert!(text(&owner.get(&website)).contains("lacks the scope"));
    product.stop();
}

#[test]
fn readiness_starts_when_observing_starts() {
    let data = quickstart_data();
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let mut owner = Visitor::owner(env);
    let id = env.source("Not enforced");
    let oauth = format!("{}/sources/{id}/oauth", at(env));
    for _ in 0..3 {
        assert_eq!(env.event("UNENFORCED_WRITE_KEY").send().status(), 200);
    }
    env.change(
        "PUT",
        &format!("/sources/{id}/app"),
        &json!({"app_id": env.get("CLIENT_ID")}),
    );
    let enable = text(&owner.get(&format!("{oauth}/on")));
    assert!(enable.contains("This source has not been observed"), "{enable}");
    let csrf = owner.csrf(&oauth);
    assert_eq!(
        owner
            .post(&format!("{oauth}/observe"), &[("csrf", &csrf)])
            .status(),
        303
    );
    let page = text(&owner.get(&oauth));
    assert!(
        page.contains("Observing: requests are checked and counted"),
        "{page}"
    );
    assert!(
        page.contains("Too early to say") && !page.contains("Ready to enforce"),
        "{page}"
    );
    let again = text(&owner.get(&oauth));
    assert!(
        !again.contains("role=\"status\""),
        "reloading repeats the notice: {again}"
    );
    let link = text(&owner.get(&format!("{oauth}?done=enforced")));
    assert!(!link.contains("role=\"status\""), "a link shows a notice");
    product.stop();
}
