//! Searching a list that is too long for one search: the page says how far it got, and continues.

use super::store;
use super::support::product::{Quickstart, quickstart_data};
use super::visitor::{Visitor, hidden, text};

/// More than are gone through to the end at once.
const SOURCES: u32 = 120_050;

/// Where the link to the next page leads.
fn next(page: &str) -> Option<String> {
    let link = page
        .split("<a href=\"")
        .find(|rest| rest.contains("rel=\"next\""))?;
    Some(link.split('"').next().unwrap().replace("&#38;", "&"))
}

#[test]
fn long_lists_are_searched_in_parts() {
    let data = quickstart_data();
    let product = Quickstart::start(data.path());
    let env = product.env.clone();
    let website = env.source("Website");
    product.stop();
    store::run(data.path(), &store::sources(&env, SOURCES));
    let product = Quickstart::start(data.path());
    let mut owner = Visitor::owner(&product.env);
    let at = format!("/console/w/{}", env.get("WORKSPACE_ID"));

    // The sample's sources were made later than those of the long list.
    let first = text(&owner.get(&format!("{at}/sources?q=WEBsite")));
    assert!(first.contains("No sources match so far."), "{first}");
    assert!(
        first.contains("0 sources found among the first 50,000 searched"),
        "{first}"
    );
    assert!(first.contains("Continue search"), "{first}");
    let second = text(&owner.get(&next(&first).expect("a way on")));
    assert!(
        second.contains("0 sources found among the next 50,000 searched"),
        "{second}"
    );
    let third = text(&owner.get(&next(&second).expect("a way on")));
    assert!(third.contains(&website), "{third}");
    assert!(!third.contains("Continue search"), "{third}");
    assert_eq!(next(&third), None);

    // Enough found on the way is a page as any other.
    let many = text(&owner.get(&format!("{at}/sources?q=number")));
    assert!(many.contains("Next page") && !many.contains("so far"), "{many}");
    // A list with an index for what is asked is gone through to its end.
    let kind = text(&owner.get(&format!("{at}/sources?kind=source_function&mode=")));
    assert!(!kind.contains("Continue search"), "{kind}");

    let invite = format!("{at}/members/invite");
    let csrf = owner.csrf(&invite);
    let base = [
        ("csrf", csrf.as_str()),
        ("email", "found@roles.example"),
        ("role.source_admin", "on"),
        ("which.source_admin", "listed"),
        ("q.source_admin", "website"),
    ];
    let mut send = |more: &[(&str, &str)]| {
        let fields: Vec<(&str, &str)> = base.iter().chain(more).copied().collect();
        text(&owner.post(&invite, &fields))
    };
    let first = send(&[("find", "source_admin")]);
    assert!(first.contains(" so far."), "{first}");
    assert!(first.contains("Continue search"), "{first}");
    let last = hidden(&first, "last.source_admin");
    let second = send(&[("more", "source_admin"), ("last.source_admin", &last)]);
    let last = hidden(&second, "last.source_admin");
    let third = send(&[("more", "source_admin"), ("last.source_admin", &last)]);
    assert!(third.contains(&format!("pick.source_admin.{website}")), "{third}");
    product.stop();
}
