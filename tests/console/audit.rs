//! The audit trail: the export has exactly the events that the page finds.

use super::support::product::{Quickstart, quickstart_data};
use super::visitor::{Visitor, text};

/// Where the page's links to its export lead: as CSV, and as JSON.
fn exports(page: &str) -> Vec<String> {
    let links = page.split("href=\"").skip(1);
    let links = links.map(|rest| rest.split('"').next().unwrap().replace("&#38;", "&"));
    links
        .filter(|link| link.contains("/audit-events/export?"))
        .collect()
}

#[test]
fn export_honours_the_filters_of_the_page() {
    let data = quickstart_data();
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let mut owner = Visitor::owner(env);
    let at = format!("/console/w/{}", env.get("WORKSPACE_ID"));
    let form = format!("{at}/sources/new");
    let csrf = owner.csrf(&form);
    for name in ["By hand, one", "By hand, two"] {
        let made = owner.post(&form, &[("csrf", &csrf), ("name", name), ("kind", "nodejs")]);
        assert_eq!(made.status(), 303);
    }
    // Something else that they did, which the filter by action leaves out.
    let renamed = format!("/sources/{}", env.source("By hand, one"));
    env.change("PATCH", &renamed, &serde_json::json!({"name": "Renamed"}));
    let who = env.get("OWNER_EMAIL").to_uppercase().replace('@', "%40");
    let mut lines = |query: &str| {
        let page = text(&owner.get(&format!("{at}/audit?{query}")));
        let shown = page.matches("<th scope=\"row\">").count();
        let links = exports(&page);
        let [csv, json] = links.as_slice() else {
            assert!(links.is_empty(), "{links:?}");
            return (shown, Vec::new());
        };
        let json = text(&owner.get(json));
        let events: Vec<serde_json::Value> = json
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let csv = text(&owner.get(csv));
        assert_eq!(csv.lines().count(), events.len() + 1, "with its head: {csv}");
        for event in &events {
            assert!(csv.contains(event["id"].as_str().unwrap()), "{csv}");
        }
        (shown, events)
    };
    let (shown, all) = lines("");
    assert_eq!(shown, all.len());
    let (shown, theirs) = lines(&format!(
        "actor={who}&action=source.created&resource=&since=&until="
    ));
    assert_eq!((shown, theirs.len()), (2, 2), "{theirs:?}");
    assert!(theirs.iter().all(|event| event["action"] == "source.created"));
    assert!(all.len() > theirs.len());
    let one = theirs[0]["resource"]["id"].as_str().unwrap();
    let (shown, of_one) = lines(&format!("resource={one}"));
    assert_eq!((shown, of_one.len()), (1, 1));
    let today = &theirs[0]["at"].as_str().unwrap()[..10];
    let (shown, of_today) = lines(&format!("actor={who}&since={today}&until={today}"));
    assert_eq!(shown, of_today.len());
    assert!(shown >= 3);
    let (shown, earlier) = lines("until=2020-01-01");
    assert_eq!(
        (shown, earlier.len()),
        (0, 0),
        "nothing to export, and no link to it"
    );
    product.stop();
}
