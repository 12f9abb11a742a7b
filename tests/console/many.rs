//! Pages of a workspace with 100,000 sources: how long the server takes, and how large they are.
//!
//! Run in a dist build: `cargo test --profile dist --test console -- --ignored --nocapture many_sources`.

use portcullis::domain::role::LISTED_MAX;

use super::store;
use super::support::product::{Env, Quickstart, quickstart_data};
use super::visitor::{Visitor, text};

const SOURCES: u32 = 100_000;

/// Requests of each page.
const REQUESTS: usize = 300;

/// Notifications of leaked tokens, a few pages of them.
const NOTICES: u32 = 200;

/// Rows to add to a closed store: the sources, all connected to one app, a member whose role lists
/// as many of them as a role may, and notices of leaked tokens.
fn additions(env: &Env) -> Vec<String> {
    let workspace = env.get("WORKSPACE_ID");
    let mut added = store::sources(env, SOURCES);
    added.extend([
        "INSERT INTO accounts (id, email, created_at) VALUES ('acc_many', 'many@roles.example', 1)"
            .to_owned(),
        format!(
            "INSERT INTO members (id, workspace, account, created_at) VALUES ('mem_many', '{workspace}', 'acc_many', 1)"
        ),
        format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {LISTED_MAX}) \
             INSERT INTO grants (member, role, resource) SELECT 'mem_many', 'source_admin', printf('src_%032x', i * 7) FROM n"
        ),
    ]);
    added
        .extend((1..=NOTICES).map(|number| store::notice(env, number, "https://example.com/repo", "commit")));
    added
}

/// What a person does on a page, over and over.
enum Asks {
    Page(String),
    /// A search for sources in the form of a member's roles.
    Picks(&'static str),
}

/// The pages, each with its name in what is printed.
fn asked(env: &Env, source: &str) -> Vec<(&'static str, Asks)> {
    let at = format!("/console/w/{}", env.get("WORKSPACE_ID"));
    let app = env.get("CLIENT_ID");
    let page = |path: String| Asks::Page(path);
    vec![
        ("overview", page(at.clone())),
        ("sources", page(format!("{at}/sources"))),
        (
            "sources, a later page",
            page(format!("{at}/sources?after=src_{:032x}", 50_000)),
        ),
        ("sources, many found", page(format!("{at}/sources?q=number"))),
        (
            "sources, one found",
            page(format!("{at}/sources?q=number%2099999")),
        ),
        (
            "sources, none found",
            page(format!("{at}/sources?q=nothing&mode=on&kind=nodejs")),
        ),
        ("sources of an app", page(format!("{at}/sources?app={app}"))),
        ("app", page(format!("{at}/apps/{app}"))),
        ("apps", page(format!("{at}/apps"))),
        ("delete app", page(format!("{at}/apps/{app}/delete"))),
        ("source", page(source.to_owned())),
        ("source's app", page(format!("{source}/oauth"))),
        ("audit trail", page(format!("{at}/audit"))),
        ("signing keys", page(format!("{at}/signing-keys"))),
        ("rotate signing keys", page(format!("{at}/signing-keys/rotate"))),
        ("end signing keys", page(format!("{at}/signing-keys/end"))),
        ("leaked tokens", page(format!("{at}/leaked-tokens"))),
        ("members", page(format!("{at}/members"))),
        (
            "roles of a member with a long list",
            page(format!("{at}/members/mem_many")),
        ),
        ("sources for a role, many found", Asks::Picks("number")),
        ("sources for a role, one found", Asks::Picks("number 99999")),
        ("sources for a role, none found", Asks::Picks("nothing")),
    ]
}

#[test]
#[ignore = "a measurement, for a dist build on a quiet machine"]
#[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
fn pages_of_many_sources_are_quick_and_small() {
    let data = quickstart_data();
    let product = Quickstart::start(data.path());
    let env = product.env.clone();
    // By name: a list of so many is longer than one page.
    let source = format!(
        "/console/w/{}/sources/{}",
        env.get("WORKSPACE_ID"),
        env.source("Website")
    );
    product.stop();
    store::run(data.path(), &additions(&env));
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let mut owner = Visitor::owner(env);
    let at = format!("/console/w/{}", env.get("WORKSPACE_ID"));
    let member = format!("{at}/members/mem_many");
    let csrf = owner.csrf(&member);
    for (what, asks) in asked(env, &source) {
        let mut times = Vec::new();
        let mut size = 0;
        for _ in 0..REQUESTS {
            let began = std::time::Instant::now();
            let page = match &asks {
                Asks::Page(path) => owner.get(path),
                Asks::Picks(text) => owner.post(
                    &member,
                    &[
                        ("csrf", &csrf),
                        ("revision", "1"),
                        ("role.source_admin", "on"),
                        ("which.source_admin", "listed"),
                        ("q.source_admin", text),
                        ("find", "source_admin"),
                    ],
                ),
            };
            times.push(began.elapsed().as_secs_f64() * 1_000.0);
            assert_eq!(page.status(), 200, "{what}: {}", text(&page));
            size = page.body.len();
        }
        times.sort_by(f64::total_cmp);
        let p99 = times[REQUESTS * 99 / 100];
        println!(
            "{what}: p50 {:.1} ms, p99 {p99:.1} ms, {size} bytes",
            times[REQUESTS / 2]
        );
        assert!(size < 73_000, "{what}: {size} bytes");
    }
    product.stop();
}
