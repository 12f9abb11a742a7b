//! Search of sources and apps, and the counts that lists show.

use portcullis::control::{Actor, SourceFilter};
use portcullis::domain::ids::{AppId, KeyId, MemberId};
use portcullis::domain::policy::Enforcement;
use portcullis::domain::source_kind::SourceKind;
use portcullis::domain::time::UnixSeconds;
use portcullis::model::page::Page;

use crate::support::{NOW, OPERATOR, TempDir, Tenant, TestControl, TestKey, claims_of};

const FIRST_PAGE: Page<'_> = Page { after: "", limit: 50 };

async fn make(tenant: &Tenant<'_>, name: &str, kind: &str) -> String {
    let body = serde_json::json!({"name": name, "kind": kind});
    let made = tenant.call("POST", "/sources", Some(body)).await;
    made.json()["id"].as_str().unwrap().to_owned()
}

async fn names(
    server: &TestControl,
    tenant: &Tenant<'_>,
    filter: SourceFilter<'_>,
    page: Page<'_>,
) -> Vec<String> {
    names_for(server, &OPERATOR, tenant, filter, page).await
}

async fn names_for(
    server: &TestControl,
    actor: &Actor,
    tenant: &Tenant<'_>,
    filter: SourceFilter<'_>,
    page: Page<'_>,
) -> Vec<String> {
    let control = &server.control;
    let found = control
        .search
        .find_sources(actor, &tenant.id, &filter, page)
        .await
        .unwrap();
    assert_eq!(found.searched_to, None, "few names are all looked at");
    found
        .items
        .into_iter()
        .map(|found| found.source.name.to_string())
        .collect()
}

#[tokio::test]
async fn sources_are_found_by_part_of_the_name() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let elsewhere = server.workspace().await;
    let same = "a".repeat(256);
    for name in [
        "Checkout Été",
        "checkin",
        "100%_sure",
        "Website",
        "back\\slash",
        &same,
    ] {
        make(&tenant, name, "nodejs").await;
    }
    make(&elsewhere, "checkout of others", "nodejs").await;
    let by = async |text: &str| {
        let filter = SourceFilter {
            text,
            ..SourceFilter::default()
        };
        names(&server, &tenant, filter, FIRST_PAGE).await
    };
    assert_eq!(by("CHECK").await, ["Checkout Été", "checkin"]);
    assert_eq!(by("éTÉ").await, ["Checkout Été"]);
    assert_eq!(by("%_").await, ["100%_sure"]);
    assert_eq!(by("\\").await, ["back\\slash"]);
    assert_eq!(by(&"A".repeat(200)).await, [same.as_str()]);
    assert_eq!(by(&format!("{}b", "a".repeat(200))).await, [""; 0]);
    assert!(by("_s_").await.is_empty());
    assert!(by("of others").await.is_empty());
    assert_eq!(by("").await.len(), 6);
}

#[tokio::test]
async fn sources_are_filtered_by_kind_enforcement_and_app() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let mut ids = Vec::new();
    for (name, kind) in [("a", "nodejs"), ("b", "python"), ("c", "nodejs"), ("d", "nodejs")] {
        ids.push(make(&tenant, name, kind).await);
    }
    let connection = serde_json::json!({"app_id": app.id()});
    for id in [&ids[0], &ids[2]] {
        tenant
            .call("PUT", &format!("/sources/{id}/app"), Some(connection.clone()))
            .await;
    }
    let mode = serde_json::json!({"mode": "observe"});
    tenant
        .call("PUT", &format!("/sources/{}/enforcement", ids[2]), Some(mode))
        .await;
    let nodes = SourceFilter {
        kind: Some(SourceKind::NodeJs),
        ..SourceFilter::default()
    };
    let first = names(&server, &tenant, nodes.clone(), Page { after: "", limit: 2 }).await;
    assert_eq!(first, ["a", "c"]);
    let (after, limit) = (ids[2].as_str(), 2);
    let rest = names(&server, &tenant, nodes, Page { after, limit }).await;
    assert_eq!(rest, ["d"]);
    let no_nodes = SourceFilter {
        but_kind: Some(SourceKind::NodeJs),
        ..SourceFilter::default()
    };
    let others = names(&server, &tenant, no_nodes, FIRST_PAGE).await;
    assert_eq!(others, ["b"]);
    let of_app = SourceFilter {
        app: Some(AppId::parse(app.id()).unwrap()),
        ..SourceFilter::default()
    };
    assert_eq!(
        names(&server, &tenant, of_app.clone(), FIRST_PAGE).await,
        ["a", "c"]
    );
    let observed = SourceFilter {
        enforcement: Some(Enforcement::Observe),
        ..of_app
    };
    assert_eq!(names(&server, &tenant, observed, FIRST_PAGE).await, ["c"]);
    let apps = server
        .control
        .search
        .find_apps(&OPERATOR, &tenant.id, "", FIRST_PAGE)
        .await
        .unwrap();
    assert_eq!(
        apps.items.iter().map(|found| found.sources).collect::<Vec<_>>(),
        [2]
    );
    let none = server
        .control
        .search
        .find_apps(&OPERATOR, &tenant.id, "nothing like it", FIRST_PAGE)
        .await
        .unwrap();
    assert!(none.items.is_empty() && none.searched_to.is_none());
}

#[tokio::test]
async fn search_finds_only_sources_of_the_members_roles() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let mut ids = Vec::new();
    for name in ["web one", "web two", "other", "web three", "not theirs, web"] {
        ids.push(make(&tenant, name, "nodejs").await);
    }
    make(&tenant, "web function", "source_function").await;
    let roles = serde_json::json!([{"role": "source_read_only", "resources": &ids[..4]}]);
    let body = serde_json::json!({"email": "reader@example.com", "roles": roles});
    let invited = tenant.call("POST", "/members", Some(body)).await;
    let id = MemberId::parse(invited.json()["id"].as_str().unwrap()).unwrap();
    let control = &server.control;
    // Who they are is who they were invited as; how they got in is not what this is about.
    let invited = control.members.get(&OPERATOR, &tenant.id, &id).await.unwrap();
    let mut member = control.api_tokens.authenticate(&tenant.api_token).await.unwrap();
    (member.id, member.grants) = (id, invited.grants);
    let reader = Actor::member(member, None);
    let by = async |filter: SourceFilter<'_>, after: &str, limit: u32| {
        names_for(&server, &reader, &tenant, filter, Page { after, limit }).await
    };
    let web = SourceFilter {
        text: "WEB",
        ..SourceFilter::default()
    };
    assert_eq!(by(web.clone(), "", 2).await, ["web one", "web two"]);
    assert_eq!(by(web.clone(), &ids[1], 2).await, ["web three"]);
    assert!(by(web, &ids[3], 2).await.is_empty());
    let all = by(SourceFilter::default(), "", 50).await;
    assert_eq!(all, ["web one", "web two", "other", "web three"]);
    let enforced = SourceFilter {
        enforcement: Some(Enforcement::On),
        ..SourceFilter::default()
    };
    assert!(by(enforced, "", 50).await.is_empty());
}

#[tokio::test]
async fn source_counts_follow_every_change() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (tenant, elsewhere) = (server.workspace().await, server.workspace().await);
    let counts = async |tenant: &Tenant<'_>| {
        let counts = server
            .control
            .search
            .source_counts(&OPERATOR, &tenant.id)
            .await
            .unwrap();
        (counts.off, counts.observe, counts.on)
    };
    assert_eq!(counts(&tenant).await, (0, 0, 0));
    let app = tenant.app().await;
    let first = make(&tenant, "first", "nodejs").await;
    let second = make(&tenant, "second", "nodejs").await;
    make(&elsewhere, "not ours", "nodejs").await;
    assert_eq!(counts(&tenant).await, (2, 0, 0));
    let put = async |path: String, body: serde_json::Value| {
        let answer = tenant.call("PUT", &path, Some(body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    put(
        format!("/sources/{first}/app"),
        serde_json::json!({"app_id": app.id()}),
    )
    .await;
    for (mode, expected) in [
        ("observe", (1, 1, 0)),
        ("on", (1, 0, 1)),
        ("on", (1, 0, 1)),
        ("off", (2, 0, 0)),
    ] {
        let path = format!("/sources/{first}/enforcement");
        put(path, serde_json::json!({"mode": mode})).await;
        assert_eq!(counts(&tenant).await, expected, "{mode}");
    }
    let renamed = serde_json::json!({"name": "another name"});
    tenant
        .call("PATCH", &format!("/sources/{second}"), Some(renamed))
        .await;
    assert_eq!(counts(&tenant).await, (2, 0, 0));
    let deleted = tenant.call("DELETE", &format!("/sources/{second}"), None).await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    assert_eq!(counts(&tenant).await, (1, 0, 0));
    // What was refused is not counted.
    let path = format!("/sources/{second}/enforcement");
    tenant
        .call("PUT", &path, Some(serde_json::json!({"mode": "observe"})))
        .await;
    assert_eq!(counts(&tenant).await, (1, 0, 0));
    assert_eq!(counts(&elsewhere).await, (1, 0, 0));
}

#[tokio::test]
async fn live_tokens_are_counted_until_expired_or_revoked() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let id = AppId::parse(app.id()).unwrap();
    let live = async || {
        server
            .control
            .search
            .live_tokens(&OPERATOR, &tenant.id, &id, None)
            .await
            .unwrap()
    };
    assert_eq!(live().await, 0);
    let first = app.token().await;
    app.token().await;
    assert_eq!(live().await, 2);
    let revocation = serde_json::json!({"token": first});
    tenant
        .call("POST", &format!("/apps/{id}/tokens/revoke"), Some(revocation))
        .await;
    assert_eq!(live().await, 1);
    server.clock.set(UnixSeconds(NOW + 86_400 + 3_600));
    assert_eq!(live().await, 0, "a day later they have expired");
}

#[tokio::test]
async fn tokens_of_a_deleted_key_are_not_live() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let id = AppId::parse(app.id()).unwrap();
    app.token().await;
    let found = server.control.apps.get(&OPERATOR, &tenant.id, &id).await.unwrap();
    let key = found.keys[0].id.clone();
    let of_key = async || {
        server
            .control
            .search
            .live_tokens(&OPERATOR, &tenant.id, &id, Some(&key))
            .await
            .unwrap()
    };
    assert_eq!(of_key().await, 1);
    let second = TestKey::p256();
    let body = serde_json::json!({"name": "second", "pem": second.public_pem});
    tenant.call("POST", &format!("/apps/{id}/keys"), Some(body)).await;
    tenant
        .call("DELETE", &format!("/apps/{id}/keys/{key}"), None)
        .await;
    assert_eq!(of_key().await, 0);
}

#[tokio::test]
async fn revoked_tokens_of_a_deleted_key_hide_no_others() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let mut app = tenant.app().await;
    let id = AppId::parse(app.id()).unwrap();
    let first = server
        .control
        .apps
        .get(&OPERATOR, &tenant.id, &id)
        .await
        .unwrap()
        .keys[0]
        .id
        .clone();
    let live = async |key: Option<&KeyId>| {
        server
            .control
            .search
            .live_tokens(&OPERATOR, &tenant.id, &id, key)
            .await
            .unwrap()
    };
    let revoke = async |body: serde_json::Value| {
        let answer = tenant
            .call("POST", &format!("/apps/{id}/tokens/revoke"), Some(body))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let token = app.token().await;
    let other = app.token().await;
    revoke(serde_json::json!({"token": token})).await;
    assert_eq!((live(None).await, live(Some(&first)).await), (1, 1));

    let second = TestKey::p256();
    let body = serde_json::json!({"name": "second", "pem": second.public_pem});
    tenant.call("POST", &format!("/apps/{id}/keys"), Some(body)).await;
    let deleted = tenant
        .call("DELETE", &format!("/apps/{id}/keys/{first}"), None)
        .await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    assert_eq!(live(None).await, 0);
    let keys = server
        .control
        .apps
        .get(&OPERATOR, &tenant.id, &id)
        .await
        .unwrap()
        .keys;
    (app.key, app.key_id) = (second, keys[0].id.to_string());
    app.token().await;
    assert_eq!(
        live(None).await,
        1,
        "what the deleted key proved is not taken off again"
    );
    // An id says nothing of the key: the token stays in the count, and hides none.
    let jti = claims_of(&other)["jti"].clone();
    revoke(serde_json::json!({"jti": jti})).await;
    assert_eq!(live(None).await, 1);
}

#[tokio::test]
async fn search_rejects_foreign_workspaces() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (tenant, other) = (server.workspace().await, server.workspace().await);
    let app = AppId::parse(tenant.app().await.id()).unwrap();
    let control = &server.control;
    let stranger = Actor::member(
        control.api_tokens.authenticate(&other.api_token).await.unwrap(),
        None,
    );
    let filter = SourceFilter::default();
    assert!(
        control
            .search
            .find_sources(&stranger, &tenant.id, &filter, FIRST_PAGE)
            .await
            .is_err()
    );
    assert!(
        control
            .search
            .find_apps(&stranger, &tenant.id, "", FIRST_PAGE)
            .await
            .is_err()
    );
    assert!(control.search.source_counts(&stranger, &tenant.id).await.is_err());
    assert!(
        control
            .search
            .owner_addresses(&stranger, &tenant.id)
            .await
            .is_err()
    );
    assert!(
        control
            .search
            .live_tokens(&stranger, &tenant.id, &app, None)
            .await
            .is_err()
    );
    assert!(
        control
            .search
            .live_tokens(&stranger, &other.id, &app, None)
            .await
            .is_err()
    );
    assert!(
        control
            .search
            .connected(&stranger, &other.id, &app, 1)
            .await
            .is_err()
    );
    assert_eq!(
        control
            .search
            .owner_addresses(&OPERATOR, &tenant.id)
            .await
            .unwrap()
            .len(),
        1
    );
}
