//! Sources, their connections and enforcement.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::{TempDir, TestControl, TestKey};

#[tokio::test]
async fn source_is_created_renamed_and_deleted() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let made = tenant
        .call("POST", "/sources", Some(json!({"name": "web", "kind": "nodejs"})))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let source = made.json();
    assert!(source["id"].as_str().unwrap().starts_with("src_"));
    assert_eq!(
        (&source["enforcement"], &source["app_id"]),
        (&json!("off"), &Value::Null)
    );
    let write_key = source["write_key"].as_str().unwrap();
    assert_eq!(write_key.len(), 32);
    assert!(write_key.bytes().all(|byte| byte.is_ascii_alphanumeric()));

    let path = format!("/sources/{}", source["id"].as_str().unwrap());
    let renamed = tenant.call("PATCH", &path, Some(json!({"name": "shop"}))).await;
    assert_eq!((renamed.status, &renamed.json()["name"]), (200, &json!("shop")));
    let refused = tenant
        .call("PATCH", &path, Some(json!({"write_key": "other"})))
        .await;
    assert_eq!(
        (refused.status, &refused.json()["field"]),
        (422, &json!("write_key"))
    );
    assert_eq!(tenant.call("DELETE", &path, None).await.status, 204);
    assert_eq!(tenant.call("GET", &path, None).await.problem(), "not-found");
}

#[tokio::test]
async fn source_function_key_fits_in_a_query() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let source = tenant.source("source_function").await;
    let key = source.write_key.expose();
    assert!(
        key.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "no escape is needed: {}",
        key.len()
    );
    let decoded = base64::engine::general_purpose::STANDARD.decode(key).unwrap();
    let decoded = String::from_utf8(decoded).unwrap();
    let (id, secret) = decoded.split_once("::").unwrap();
    assert_eq!(id, source.id.as_str());
    assert_eq!(secret.len(), 34);
}

#[tokio::test]
async fn write_key_belongs_to_one_source_anywhere() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (tenant, other) = (server.workspace().await, server.workspace().await);
    let new = json!({"name": "web", "kind": "python", "write_key": "wk-already-in-use"});
    assert_eq!(
        tenant.call("POST", "/sources", Some(new.clone())).await.status,
        201
    );
    for tenant in [&tenant, &other] {
        let again = tenant.call("POST", "/sources", Some(new.clone())).await;
        assert_eq!((again.status, again.problem().as_str()), (409, "write-key-taken"));
    }
    for bad in ["", "a b", "ä", &"x".repeat(513)] {
        let new = json!({"name": "web", "kind": "python", "write_key": bad});
        let answer = tenant.call("POST", "/sources", Some(new)).await;
        assert_eq!(
            (answer.status, &answer.json()["field"]),
            (422, &json!("write_key"))
        );
    }
    let answer = tenant
        .call("POST", "/sources", Some(json!({"name": "web", "kind": "ruby"})))
        .await;
    assert_eq!((answer.status, &answer.json()["field"]), (422, &json!("kind")));
}

#[tokio::test]
async fn connecting_an_app_needs_the_scope_of_the_kind() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    for (kind, scope) in [
        ("http_api", "tracking_api:write"),
        ("nodejs", "tracking_api:write"),
        ("python", "tracking_api:write"),
        ("source_function", "functions:write"),
        ("public_api", "public_api:read_write"),
    ] {
        let source = tenant.source(kind).await;
        let path = format!("/sources/{}/app", source.id);
        for held in ["tracking_api:write", "functions:write", "public_api:read_write"] {
            let app = tenant.app_with(&TestKey::p256(), &[held]).await;
            let answer = tenant.call("PUT", &path, Some(json!({"app_id": app.id()}))).await;
            if held == scope {
                assert_eq!((answer.status, &answer.json()["app_id"]), (200, &json!(app.id())));
            } else {
                assert_eq!((answer.status, answer.problem().as_str()), (409, "scope-missing"));
                assert!(answer.json()["detail"].as_str().unwrap().contains(scope));
            }
        }
    }
}

#[tokio::test]
async fn foreign_app_cannot_be_connected() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (tenant, other) = (server.workspace().await, server.workspace().await);
    let source = tenant.source("http_api").await;
    let theirs = other.app().await;
    for app in [theirs.id(), "app_00000000000000000000000000000000", "", "a b"] {
        let path = format!("/sources/{}/app", source.id);
        let answer = tenant.call("PUT", &path, Some(json!({"app_id": app}))).await;
        assert_eq!(
            (answer.status, &answer.json()["field"]),
            (422, &json!("app_id")),
            "{app}"
        );
    }
}

#[tokio::test]
async fn enforcement_needs_a_connected_app() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let source = tenant.source("http_api").await;
    let (app_path, mode_path) = (
        format!("/sources/{}/app", source.id),
        format!("/sources/{}/enforcement", source.id),
    );
    let set = async |mode: &str| tenant.call("PUT", &mode_path, Some(json!({"mode": mode}))).await;

    for mode in ["on", "observe"] {
        let refused = set(mode).await;
        assert_eq!(
            (refused.status, refused.problem().as_str()),
            (409, "no-app-connected")
        );
    }
    assert_eq!(set("off").await.status, 200);
    assert_eq!((set("strict").await.status, set("On").await.status), (422, 422));

    let connect = json!({"app_id": app.id()});
    assert_eq!(tenant.call("PUT", &app_path, Some(connect)).await.status, 200);
    for mode in ["observe", "on"] {
        let answer = set(mode).await;
        assert_eq!(
            (answer.status, &answer.json()["enforcement"]),
            (200, &json!(mode))
        );
        let refused = tenant.call("DELETE", &app_path, None).await;
        assert_eq!(
            (refused.status, refused.problem().as_str()),
            (409, "source-enforced")
        );
    }
    let forced = tenant
        .call("DELETE", &format!("{app_path}?force=true"), None)
        .await;
    assert_eq!(forced.status, 200, "{forced:?}");
    assert_eq!(
        (&forced.json()["app_id"], &forced.json()["enforcement"]),
        (&Value::Null, &json!("on"))
    );
    assert_eq!(set("off").await.status, 200);
    assert_eq!(
        tenant.call("DELETE", &app_path, None).await.status,
        200,
        "there is nothing left to refuse"
    );
}
