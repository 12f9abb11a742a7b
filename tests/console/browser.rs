//! Everything that people do in the console, walked through in Debian's Chromium by `tests/sdk/browser`.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

use super::roles::{PASSWORD, ROLES, invite};
use super::store;
use super::support::process::Process;
use super::support::product::{Env, Quickstart, project_file, quickstart_data};
use super::visitor::Visitor;

const CHROMIUM: &str = "/usr/bin/chromium";

/// What became of one flow.
#[derive(Deserialize)]
struct Outcome {
    flow: String,
    problem: Option<String>,
    /// What was measured on the way.
    said: Option<String>,
    ms: u64,
}

fn expect_set_up(path: &Path) {
    assert!(
        path.exists(),
        "{} is missing; `make setup` installs what the tests drive, and `make test` runs it first",
        path.display()
    );
}

/// The pages whose looks are examined: name, path, and the status where it is not 200.
fn pages(env: &Env) -> Vec<Value> {
    let at = format!("/console/w/{}", env.get("WORKSPACE_ID"));
    let app = format!("{at}/apps/{}", env.get("CLIENT_ID"));
    let key = env.get("KEY_ID");
    let source = format!("{at}/sources/{}", env.source("Observed"));
    let unconnected = format!("{at}/sources/{}", env.source("Not enforced"));
    let page = |name: &str, path: String| json!([name, path]);
    // Names without spaces wrap.
    let long = "W".repeat(128);
    let other = format!("/apps/{}", env.get("OTHER_CLIENT_ID"));
    env.change("PATCH", &other, &json!({"name": long}));
    let named = env.change("POST", "/sources", &json!({"name": long, "kind": "nodejs"}));
    let named = format!("{at}/sources/{}", named["id"].as_str().unwrap());
    vec![
        page("app-long-name", format!("{at}{other}")),
        page("app-long-name-settings", format!("{at}{other}/settings")),
        page("source-long-name", named.clone()),
        page("source-long-name-oauth", format!("{named}/oauth")),
        page("source-long-name-connect", format!("{named}/oauth/connect")),
        page("out-sign-in", "/console/sign-in".to_owned()),
        page("out-join", "/console/join".to_owned()),
        page("members", format!("{at}/members")),
        page("member-invite", format!("{at}/members/invite")),
        page("audit", format!("{at}/audit")),
        page("account", format!("{at}/account")),
        page("account-token-new", format!("{at}/account/tokens/new")),
        page("account-password", format!("{at}/account/password")),
        page("overview", at.clone()),
        page("apps", format!("{at}/apps")),
        page("apps-none-found", format!("{at}/apps?q=nothing%20like%20this")),
        page("app-new", format!("{at}/apps/new")),
        page("app", app.clone()),
        page("app-client", format!("{app}/client")),
        page("app-settings", format!("{app}/settings")),
        page("app-revoke", format!("{app}/revoke")),
        page("app-delete", format!("{app}/delete")),
        page("app-key-new", format!("{app}/keys/new")),
        page("app-key-delete", format!("{app}/keys/{key}/delete")),
        page("sources", format!("{at}/sources")),
        page("source-new", format!("{at}/sources/new")),
        page("source", source.clone()),
        page("source-settings", format!("{source}/settings")),
        page("source-delete", format!("{source}/delete")),
        page("source-oauth", format!("{source}/oauth")),
        page("source-oauth-none", format!("{unconnected}/oauth")),
        page("source-connect", format!("{source}/oauth/connect")),
        page("source-disconnect", format!("{source}/oauth/disconnect")),
        page("source-enable", format!("{source}/oauth/on")),
        page("edges", format!("{at}/edges")),
        page("signing-keys", format!("{at}/signing-keys")),
        page("signing-keys-rotate", format!("{at}/signing-keys/rotate")),
        page("signing-keys-end", format!("{at}/signing-keys/end")),
        page("api-tokens", format!("{at}/api-tokens")),
        page("app-revoke-all", format!("{app}/revoke-all")),
        page(
            "leaked-tokens-revoke-all",
            format!("{at}/leaked-tokens/revoke-all"),
        ),
        page("leaked-tokens", format!("{at}/leaked-tokens")),
        page("member-listed", format!("{at}/members/{}", listed_member(env))),
        json!(["nothing-here", format!("{at}/nothing"), 404]),
    ]
}

/// Somebody whose roles are for a listed source and a listed function, and have no end of either.
fn listed_member(env: &Env) -> String {
    let roles = json!([
        {"role": "source_admin", "resources": [env.source("Observed")]},
        {"role": "function_read_only", "resources": [env.source("Webhook")]},
    ]);
    let made = env.change(
        "POST",
        "/members",
        &json!({"email": "listed@roles.example", "roles": roles}),
    );
    made["id"].as_str().unwrap().to_owned()
}

/// Somebody of each role, by its name. None of them is who the other flows sign in as, so that they may end all
/// their sessions.
fn people(env: &Env) -> Value {
    let mut owner = Visitor::owner(env);
    let mut people = json!({});
    for role in ROLES {
        let email = invite(env, &mut owner, role);
        people[role] = json!({"email": email, "password": PASSWORD});
    }
    people
}

/// What nobody makes in the console: notices of leaked tokens.
fn notices(env: &Env) -> Vec<String> {
    vec![
        store::notice(
            env,
            1,
            "https://github.example/shop/backend/blob/main/.env",
            "commit",
        ),
        store::notice(
            env,
            2,
            "https://evil.example/\"><script>alert(1)</script>",
            "\u{202e}tsig",
        ),
        store::notice(env, 3, "", ""),
        store::notice(
            env,
            4,
            &format!("https://example.com/{}", "long".repeat(400)),
            "gist",
        ),
    ]
}

#[test]
fn everything_works_in_a_browser() {
    expect_set_up(Path::new(CHROMIUM));
    expect_set_up(&project_file("tests/sdk/browser/node_modules/playwright-core"));
    let data = quickstart_data();
    store::run(data.path(), &notices(&Env::read(&data.join("env"))));
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let pictures = project_file("target/test-output/console");
    fs::create_dir_all(&pictures).unwrap();
    let world = json!({
        "chromium": CHROMIUM,
        "console": env.get("CONSOLE_URL").trim_end_matches('/'),
        "gateway": env.get("GATEWAY_URL"),
        "functions": env.get("FUNCTIONS_URL"),
        "api": format!("{}/workspaces/{}", env.get("API_URL"), env.get("WORKSPACE_ID")),
        "api_token": env.get("OWNER_API_TOKEN"),
        "token_url": env.get("TOKEN_URL"),
        "auth_server": env.get("AUTH_SERVER"),
        "pictures": pictures,
        "pages": pages(env),
        "at": format!("/console/w/{}", env.get("WORKSPACE_ID")),
        "owner": {"email": env.get("OWNER_EMAIL"), "password": env.get("OWNER_PASSWORD")},
        "people": people(env),
    });
    let world_file = data.join("world.json");
    fs::write(&world_file, world.to_string()).unwrap();
    let mut node = Command::new("node");
    node.arg(project_file("tests/sdk/browser/walk.mjs"))
        .arg(&world_file);
    let walk = Process::start(&mut node);
    let mut failed = Vec::new();
    for at in 0.. {
        // Each line has its own deadline: the walk as a whole may take longer than one step ever does.
        let line = walk
            .stdout
            .wait_for("the outcome of a flow", |lines| lines.get(at).cloned());
        let Ok(outcome) = serde_json::from_str::<Outcome>(&line) else {
            assert_eq!(line, r#"{"end":true}"#);
            break;
        };
        println!("{}: {} ms", outcome.flow, outcome.ms);
        if let Some(said) = outcome.said {
            println!("{}: {said}", outcome.flow);
        }
        failed.extend(
            outcome
                .problem
                .map(|problem| format!("{}: {problem}", outcome.flow)),
        );
    }
    let finished = walk.finish();
    assert!(failed.is_empty(), "{}\n{}", failed.join("\n"), finished.stderr);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    product.stop();
}
