//! Changes of each kind in a store with a million sources, each timed.

use serde_json::{Value, json};

use super::super::many_store::{app_id, member_id, source_id};
use super::World;

pub fn changes_of_sources(world: &mut World, app: &str) {
    let sources = world.rows.sources;
    // All over the table.
    let source = |at: u64| source_id((at * 7_919 + 3) % sources);
    world.change("POST sources", "POST", |at| {
        (
            "/sources".to_owned(),
            json!({"name": format!("New {at}"), "kind": "python"}),
        )
    });
    world.change("PATCH source", "PATCH", |at| {
        (
            format!("/sources/{}", source(at)),
            json!({"name": format!("Renamed {at}")}),
        )
    });
    world.change("PUT source's app", "PUT", |at| {
        (format!("/sources/{}/app", source(at)), json!({"app_id": app}))
    });
    for mode in ["off", "on"] {
        world.change(&format!("PUT enforcement {mode}"), "PUT", |at| {
            (
                format!("/sources/{}/enforcement", source(at)),
                json!({"mode": mode}),
            )
        });
    }
    world.change("DELETE source's app", "DELETE", |at| {
        (format!("/sources/{}/app?force=true", source(at)), Value::Null)
    });
    world.change("DELETE source", "DELETE", |at| {
        (format!("/sources/{}", source(at)), Value::Null)
    });
}

pub fn changes_of_apps(world: &mut World, pem: &str, other_pem: &str) {
    let apps = world.rows.apps;
    let app = |at: u64| app_id((at * 7_919 + 3) % apps);
    let scopes = json!(["tracking_api:write"]);
    let mut made = Vec::new();
    for at in 0..world.samples {
        let key = json!({"name": "k", "pem": pem});
        let body = json!({"name": format!("Made {at}"), "scopes": scopes, "public_key": key});
        made.push(world.make("/apps", &body));
    }
    let id = |at: u64| made[at as usize]["id"].as_str().unwrap().to_owned();
    let key = |at: u64| made[at as usize]["keys"][0]["id"].as_str().unwrap().to_owned();
    world.change("POST apps", "POST", |at| {
        let key = json!({"name": "k", "pem": pem});
        (
            "/apps".to_owned(),
            json!({"name": format!("New {at}"), "scopes": scopes, "public_key": key}),
        )
    });
    world.change("PATCH app", "PATCH", |at| {
        (
            format!("/apps/{}", app(at)),
            json!({"name": format!("Renamed {at}")}),
        )
    });
    world.change("POST keys", "POST", |at| {
        (
            format!("/apps/{}/keys", id(at)),
            json!({"name": "k2", "pem": other_pem}),
        )
    });
    world.change("POST keys/revoke-tokens", "POST", |at| {
        (
            format!("/apps/{}/keys/{}/revoke-tokens", id(at), key(at)),
            json!({}),
        )
    });
    world.change("DELETE key", "DELETE", |at| {
        (format!("/apps/{}/keys/{}", id(at), key(at)), Value::Null)
    });
    world.change("POST app's tokens/revoke-all", "POST", |at| {
        (format!("/apps/{}/tokens/revoke-all", app(at)), json!({}))
    });
    world.change("DELETE app", "DELETE", |at| {
        (
            format!("/apps/{}", id(at)),
            json!({"confirm_name": format!("Made {at}")}),
        )
    });
}

pub fn changes_of_tokens(world: &mut World, app: &str) {
    let tokens: Vec<String> = (0..world.samples)
        .map(|_| world.env.token("", "tracking_api:write"))
        .collect();
    world.change("POST tokens/revoke", "POST", |at| {
        (
            format!("/apps/{app}/tokens/revoke"),
            json!({"token": tokens[at as usize]}),
        )
    });
    // About one of these is taken in a second.
    let samples = world.samples;
    world.samples = samples.min(30);
    world.change("POST tokens/revoke-all", "POST", |_| {
        ("/tokens/revoke-all".to_owned(), json!({}))
    });
    world.samples = samples;
}

pub fn changes_of_members(world: &mut World) {
    let sources = world.rows.sources;
    let listed: Vec<String> = (0..20).map(|at| source_id((11 + at * 31) % sources)).collect();
    let role = json!([{"role": "source_admin", "resources": listed}]);
    world.change("POST members", "POST", |at| {
        (
            "/members".to_owned(),
            json!({"email": format!("new-{at}@many.example"), "roles": role}),
        )
    });
    world.change("PATCH member", "PATCH", |at| {
        (format!("/members/{}", member_id(at + 10)), json!({"roles": role}))
    });
    world.change("DELETE member", "DELETE", |at| {
        (format!("/members/{}", member_id(at + 10)), Value::Null)
    });
    world.change("PATCH workspace", "PATCH", |at| {
        (String::new(), json!({"name": format!("Many {at}")}))
    });
    let ids: Vec<String> = (0..world.samples.min(90))
        .map(|at| {
            let made = world
                .in_session("POST", &world.workspace_url("/api-tokens"))
                .json(&json!({"name": format!("t{at}")}))
                .send();
            made.json()["id"].as_str().unwrap().to_owned()
        })
        .collect();
    let samples = std::mem::replace(&mut world.samples, ids.len() as u64);
    world.change("DELETE api-token", "DELETE", |at| {
        (format!("/api-tokens/{}", ids[at as usize]), Value::Null)
    });
    world.measure("POST api-tokens", |world, at| {
        world
            .in_session("POST", &world.workspace_url("/api-tokens"))
            .json(&json!({"name": format!("n{at}")}))
    });
    world.samples = samples;
}
