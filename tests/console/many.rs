//! Pages of a workspace with 100,000 sources: how long the server takes, and how large they are.
//!
//! Run in a release build: `cargo test --release --test console -- --ignored --nocapture many_sources`.

use std::path::Path;

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::support::product::{Env, Quickstart, quickstart_data};
use super::visitor::{Visitor, text};

const SOURCES: u32 = 100_000;

/// Requests of each page.
const REQUESTS: usize = 300;

/// Adds sources to a store that nobody has open, all connected to one app.
fn add_sources(store: &Path, env: &Env) {
    let insert = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {SOURCES}) \
         INSERT INTO sources (id, workspace, name, kind, write_key, write_key_digest, enforcement, app, created_at, search) \
         SELECT printf('src_%032x', i), '{}', 'Source number ' || i, 'nodejs', 'many' || i, printf('%021xA', i), \
         CASE i % 3 WHEN 0 THEN 'on' WHEN 1 THEN 'observe' ELSE 'off' END, '{}', 1, 'source number ' || i FROM n",
        env.get("WORKSPACE_ID"),
        env.get("CLIENT_ID")
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(store);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(insert))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    });
}

#[test]
#[ignore = "a measurement, for a release build on a quiet machine"]
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
    add_sources(&data.join("portcullis.db"), &env);
    let product = Quickstart::start(data.path());
    let env = &product.env;
    let mut owner = Visitor::owner(env);
    let at = format!("/console/w/{}", env.get("WORKSPACE_ID"));
    let app = env.get("CLIENT_ID");
    for (what, path) in [
        ("overview", at.clone()),
        ("sources", format!("{at}/sources")),
        (
            "sources, a later page",
            format!("{at}/sources?after=src_{:032x}", 50_000),
        ),
        ("sources, many found", format!("{at}/sources?q=number")),
        ("sources, one found", format!("{at}/sources?q=number%2099999")),
        (
            "sources, none found",
            format!("{at}/sources?q=nothing&mode=on&kind=nodejs"),
        ),
        ("sources of an app", format!("{at}/sources?app={app}")),
        ("app", format!("{at}/apps/{app}")),
        ("apps", format!("{at}/apps")),
        ("delete app", format!("{at}/apps/{app}/delete")),
        ("source", source.clone()),
        ("source's app", format!("{source}/oauth")),
        ("audit trail", format!("{at}/audit")),
    ] {
        let mut times = Vec::new();
        let mut size = 0;
        for _ in 0..REQUESTS {
            let began = std::time::Instant::now();
            let page = owner.get(&path);
            times.push(began.elapsed().as_secs_f64() * 1_000.0);
            assert_eq!(page.status(), 200, "{path}: {}", text(&page));
            size = page.body.len();
        }
        times.sort_by(f64::total_cmp);
        let p99 = times[REQUESTS * 99 / 100];
        println!(
            "{what}: p50 {:.1} ms, p99 {p99:.1} ms, {size} bytes",
            times[REQUESTS / 2]
        );
        assert!(size < 70_000, "{what}: {size} bytes");
    }
    product.stop();
}
