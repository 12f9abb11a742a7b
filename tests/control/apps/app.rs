//! OAuth apps and their keys: validation, limits and deletion.

use portcullis::control::{NewGrant, NewResources};
use portcullis::domain::key::Algorithm;
use serde_json::{Value, json};

use crate::support::{Answer, OPERATOR, TempDir, TestControl, TestKey};

fn new_app(pem: &str) -> Value {
    json!({
        "name": "sender", "scopes": ["tracking_api:write"], "token_lifetime": "1d",
        "public_key": {"name": "laptop", "pem": pem},
    })
}

#[track_caller]
fn invalid(answer: &Answer, field: &str) -> String {
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (422, "invalid-value"),
        "{answer:?}"
    );
    let problem = answer.json();
    assert_eq!(problem["field"], field, "{problem}");
    problem["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn app_is_created_read_updated_and_deleted() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let key = TestKey::rsa(Algorithm::Rs256);

    let made = tenant.call("POST", "/apps", Some(new_app(&key.public_pem))).await;
    assert_eq!(made.status, 201, "{made:?}");
    let app = made.json();
    assert!(app["id"].as_str().unwrap().starts_with("app_"));
    assert_eq!(app["scopes"], json!(["tracking_api:write"]));
    assert_eq!(app["token_lifetime"], "1d");
    assert_eq!(app["sources"], json!([]));
    assert_eq!(app["keys"].as_array().unwrap().len(), 1);
    let shown_key = &app["keys"][0];
    assert!(shown_key["id"].as_str().unwrap().starts_with("key_"));
    assert_eq!(
        (&shown_key["name"], &shown_key["algorithm"]),
        (&json!("laptop"), &json!("RS256"))
    );
    assert_eq!(shown_key["pem"], key.public_pem.trim());
    assert_eq!(shown_key["last_used_at"], Value::Null);

    let path = format!("/apps/{}", app["id"].as_str().unwrap());
    assert_eq!(tenant.call("GET", &path, None).await.json(), app);

    let change = json!({"name": "renamed", "scopes": ["functions:write", "tracking_api:write"]});
    let changed = tenant.call("PATCH", &path, Some(change)).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(changed.json()["name"], "renamed");
    assert_eq!(changed.json()["token_lifetime"], "1d");
    assert_eq!(tenant.call("GET", &path, None).await.json(), changed.json());

    let wrong = tenant
        .call("DELETE", &path, Some(json!({"confirm_name": "sender"})))
        .await;
    invalid(&wrong, "confirm_name");
    let right = tenant
        .call("DELETE", &path, Some(json!({"confirm_name": "renamed"})))
        .await;
    assert_eq!(right.status, 204);
    assert_eq!(tenant.call("GET", &path, None).await.problem(), "not-found");
}

#[tokio::test]
async fn wrong_pem_is_named_in_the_error() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let good = TestKey::p256();
    let both = format!("{}{}", good.public_pem, good.private_pem);
    let damaged = good.public_pem.replace("\n-----END", "!\n-----END");
    let two = format!("{0}{0}", good.public_pem);
    for (pem, words) in [
        (good.private_pem.as_str(), "private key"),
        (both.as_str(), "private key"),
        (include_str!("keys/certificate.pem"), "certificate"),
        (include_str!("keys/rsa_1024.pem"), "1024 bits"),
        (include_str!("keys/rsa_exponent_3.pem"), "exponent"),
        (include_str!("keys/p384.pem"), "kind is not supported"),
        (include_str!("keys/secp256k1.pem"), "kind is not supported"),
        (damaged.as_str(), "damaged"),
        (two.as_str(), "more than one"),
        ("ssh-ed25519 AAAA me@host", "no PEM public key"),
        ("", "no PEM public key"),
        (&"x".repeat(20_000), "longer than"),
    ] {
        let answer = tenant.call("POST", "/apps", Some(new_app(pem))).await;
        let detail = invalid(&answer, "public_key.pem");
        assert!(detail.contains(words), "{detail}");
        let leaked = pem
            .lines()
            .filter(|line| line.len() > 40 && !line.starts_with("--"));
        for line in leaked {
            assert!(
                !String::from_utf8_lossy(&answer.body).contains(line),
                "what was pasted is not echoed"
            );
        }
    }
}

#[tokio::test]
async fn invalid_values_are_rejected_with_their_field() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let key = TestKey::p256();
    let with = |field: &str, value: Value| {
        let mut app = new_app(&key.public_pem);
        app[field] = value;
        app
    };
    for (field, value) in [
        ("name", json!("")),
        ("name", json!("  ")),
        ("name", json!("a\nb")),
        ("name", json!("x".repeat(257))),
        ("name", json!(7)),
        ("scopes", json!([])),
        ("scopes", json!(["tracking_api:read"])),
        ("scopes", json!(["tracking_api:write", ""])),
        ("scopes", json!("tracking_api:write")),
        ("token_lifetime", json!("4d")),
        ("token_lifetime", json!("")),
        ("token_lifetime", json!(86_400)),
        ("colour", json!("red")),
    ] {
        let answer = tenant.call("POST", "/apps", Some(with(field, value))).await;
        invalid(&answer, field);
    }
    for (field, value) in [
        ("name", json!("\u{7}")),
        ("algorithm", json!("RS256")),
        ("algorithm", json!("none")),
    ] {
        let mut app = new_app(&key.public_pem);
        app["public_key"][field] = value;
        invalid(
            &tenant.call("POST", "/apps", Some(app)).await,
            &format!("public_key.{field}"),
        );
    }
    let mut app = new_app(&key.public_pem);
    app["public_key"]["colour"] = json!("red");
    invalid(
        &tenant.call("POST", "/apps", Some(app)).await,
        "public_key.colour",
    );
    let mut app = new_app(&key.public_pem);
    app["public_key"].as_object_mut().unwrap().remove("pem");
    invalid(&tenant.call("POST", "/apps", Some(app)).await, "public_key.pem");
    let mut app = new_app(&key.public_pem);
    app.as_object_mut().unwrap().remove("scopes");
    invalid(&tenant.call("POST", "/apps", Some(app)).await, "scopes");
    assert_eq!(
        tenant.call("GET", "/apps", None).await.json()["items"],
        json!([]),
        "none of them was made"
    );
}

#[tokio::test]
async fn app_has_at_most_two_distinct_keys() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let path = format!("/apps/{}/keys", app.id());
    let add = async |key: &TestKey| {
        tenant
            .call(
                "POST",
                &path,
                Some(json!({"name": "next", "pem": key.public_pem})),
            )
            .await
    };

    assert_eq!(add(&app.key).await.problem(), "key-repeated");
    let second = TestKey::ed25519();
    let added = add(&second).await;
    assert_eq!(added.status, 201, "{added:?}");
    let third = add(&TestKey::p256()).await;
    assert_eq!(
        (third.status, third.problem().as_str()),
        (409, "two-keys-at-most")
    );
    assert_eq!(
        tenant.call("GET", &path, None).await.json()["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    // Both keys get tokens while clients move over.
    assert_eq!(server.ask(&app.assertion(), "").await.status, 200);
    let added = added.json();
    let header = json!({"alg": "EdDSA", "kid": added["id"], "typ": "JWT"});
    assert_eq!(
        server.ask(&second.sign(&header, &app.claims()), "").await.status,
        200
    );

    let first = format!("{path}/{}", app.key_id);
    assert_eq!(tenant.call("DELETE", &first, None).await.status, 204);
    assert_eq!(tenant.call("DELETE", &first, None).await.problem(), "not-found");
    assert_eq!(
        server.ask(&app.assertion(), "").await.status,
        401,
        "the deleted key proves nothing"
    );
    assert_eq!(
        server.ask(&second.sign(&header, &app.claims()), "").await.status,
        200
    );
    assert_eq!(add(&TestKey::p256()).await.status, 201);
}

#[tokio::test]
async fn connected_app_is_not_deleted() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let source = tenant.source("http_api").await;
    server
        .control
        .sources
        .connect(&OPERATOR, &tenant.id, &source.id, &app.details.app.id)
        .await
        .unwrap();

    let path = format!("/apps/{}", app.id());
    assert_eq!(
        tenant.call("GET", &path, None).await.json()["sources"],
        json!([source.id.as_str()])
    );
    let confirm = json!({"confirm_name": "sender"});
    let refused = tenant.call("DELETE", &path, Some(confirm.clone())).await;
    assert_eq!(
        (refused.status, refused.problem().as_str()),
        (409, "app-connected")
    );
    assert!(
        refused.json()["detail"]
            .as_str()
            .unwrap()
            .contains(source.id.as_str())
    );
    assert_eq!(server.ask(&app.assertion(), "").await.status, 200);

    server
        .control
        .sources
        .disconnect(&OPERATOR, &tenant.id, &source.id, false)
        .await
        .unwrap();
    assert_eq!(tenant.call("DELETE", &path, Some(confirm)).await.status, 204);
    assert_eq!(server.ask(&app.assertion(), "").await.status, 401);
}

#[tokio::test]
async fn delete_conflict_names_only_visible_sources() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let mut sources = Vec::new();
    for _ in 0..3 {
        let source = tenant.source("python").await;
        let connected = server
            .control
            .sources
            .connect(&OPERATOR, &tenant.id, &source.id, &app.details.app.id)
            .await;
        sources.push(connected.unwrap().id.to_string());
    }
    let elsewhere = tenant.source("python").await.id.to_string();
    let path = format!("/apps/{}", app.id());
    for (listed, words) in [
        (&sources[1], format!("{} and 2 more", sources[1])),
        (&elsewhere, "3 that you may not view".to_owned()),
    ] {
        let grant = NewGrant {
            role: "source_admin".to_owned(),
            resources: Some(NewResources::Listed(vec![listed.clone()])),
        };
        let email = format!("{listed}@example.com");
        let member = server
            .control
            .members
            .create_member(&OPERATOR, &tenant.id, &email, &[grant])
            .await
            .unwrap();
        let token = server
            .control
            .api_tokens
            .create_api_token(&OPERATOR, &member.id, "tests", None);
        let token = token.await.unwrap();
        let confirmed = json!({"confirm_name": "sender"});
        let refused = tenant
            .call_as(token.expose(), "DELETE", &path, Some(confirmed))
            .await;
        assert_eq!(
            (refused.status, refused.problem().as_str()),
            (409, "app-connected")
        );
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(&words), "{detail}");
        let others = sources.iter().filter(|id| *id != listed);
        assert!(
            others.into_iter().all(|id| !detail.contains(id.as_str())),
            "{detail}"
        );
    }
    let refused = tenant
        .call("DELETE", &path, Some(json!({"confirm_name": "sender"})))
        .await;
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(&sources.join(", ")), "{detail}");
}
