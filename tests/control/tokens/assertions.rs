//! Client assertions in the forms that libraries send: without `kid`, `iat` or `jti`, with an hour of lifetime.

use portcullis::domain::key::Algorithm;
use portcullis::domain::time::UnixSeconds;
use serde_json::{Value, json};

use crate::support::{Answer, NOW, OPERATOR, TempDir, TestApp, TestControl, TestKey, claims_of, new_app};

#[track_caller]
fn assert_error(answer: &Answer, status: u16, error: &str) {
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (status, &json!(error)),
        "{answer:?}"
    );
}

/// An assertion without `kid`, signed with `key`.
fn without_kid(app: &TestApp<'_>, key: &TestKey) -> String {
    let header = json!({"alg": key.algorithm.as_str(), "typ": "JWT"});
    key.sign(&header, &app.claims())
}

async fn add_key(app: &TestApp<'_>, key: &TestKey) -> String {
    let (workspace, id) = (&app.details.app.workspace, &app.details.app.id);
    let new = new_app("x", &[], key).public_key;
    let added = app.server.control.apps.add_key(&OPERATOR, workspace, id, &new);
    added.await.unwrap().id.to_string()
}

#[tokio::test]
async fn kid_is_optional_and_every_key_of_the_app_is_tried() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let (first, second, stranger) = (TestKey::p256(), TestKey::p256(), TestKey::p256());
    let app = tenant.app_with(&first, &["tracking_api:write"]).await;
    let second_id = add_key(&app, &second).await;
    for (key, id) in [(&first, &app.key_id), (&second, &second_id)] {
        let answer = server.ask(&without_kid(&app, key), "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(claims_of(&token)["client_key_id"], **id);
    }
    assert_error(
        &server.ask(&without_kid(&app, &stranger), "").await,
        401,
        "invalid_client",
    );
    // A named key is the only one tried, and the key of another app is none.
    let mut header = app.header();
    header["kid"] = json!(second_id);
    let wrong = first.sign(&header, &app.claims());
    assert_error(&server.ask(&wrong, "").await, 401, "invalid_client");
    let other = tenant.app().await;
    let theirs = without_kid(&other, &first);
    assert_error(&server.ask(&theirs, "").await, 401, "invalid_client");
    for odd in [json!(""), json!(7), json!([app.key_id]), json!("a\u{7}b")] {
        let header = json!({"alg": "ES256", "kid": odd, "typ": "JWT"});
        let answer = server.ask(&first.sign(&header, &app.claims()), "").await;
        assert_error(&answer, 401, "invalid_client");
    }
}

#[tokio::test]
async fn assertion_without_kid_is_accepted_once() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let assertion = without_kid(&app, &app.key);
    assert_eq!(server.ask(&assertion, "").await.status, 200);
    assert_error(&server.ask(&assertion, "").await, 401, "invalid_client");
}

#[tokio::test]
async fn assertion_without_jti_is_accepted_once() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let assertion = app.assertion_with("jti", Value::Null);
    assert_eq!(server.ask(&assertion, "").await.status, 200);
    assert_error(&server.ask(&assertion, "").await, 401, "invalid_client");
}

#[tokio::test]
async fn assertion_without_iat_is_bounded_by_exp() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let expiring = |at: u64| {
        let mut claims = app.claims_with("iat", Value::Null);
        claims["exp"] = json!(at);
        app.key.sign(&app.header(), &claims)
    };
    for exp in [NOW - 4, NOW + 1, NOW + 3_600, NOW + 3_605] {
        assert_eq!(server.ask(&expiring(exp), "").await.status, 200, "{exp}");
    }
    assert_error(&server.ask(&expiring(NOW - 5), "").await, 400, "invalid_request");
    assert_error(
        &server.ask(&expiring(NOW + 3_606), "").await,
        401,
        "invalid_client",
    );
}

#[tokio::test]
async fn replay_entry_lives_as_long_as_the_assertion() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let assertion = app.assertion_with("exp", json!(NOW + 3_595));
    assert_eq!(server.ask(&assertion, "").await.status, 200);
    for later in [60, 700, 3_599] {
        server.clock.set(UnixSeconds(NOW + later));
        server.control.purge().await;
        assert_error(&server.ask(&assertion, "").await, 401, "invalid_client");
    }
    server.clock.set(UnixSeconds(NOW + 3_600));
    assert_error(&server.ask(&assertion, "").await, 400, "invalid_request");
}

#[tokio::test]
async fn assertion_lifetime_max_is_configurable() {
    let dir = TempDir::new();
    let server = TestControl::start_with(&dir, |settings| settings.assertion_lifetime_max_s = 60).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    assert_eq!(server.ask(&app.assertion(), "").await.status, 200);
    let answer = server.ask(&app.assertion_with("exp", json!(NOW + 56)), "").await;
    assert_error(&answer, 401, "invalid_client");
    let description = answer.json()["error_description"].as_str().unwrap().to_owned();
    assert!(description.contains("60 seconds"), "{description}");
}

#[tokio::test]
async fn ed25519_is_a_name_of_eddsa() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant
        .app_with(&TestKey::ed25519(), &["tracking_api:write"])
        .await;
    for (alg, status) in [
        ("EdDSA", 200),
        ("Ed25519", 200),
        ("Ed448", 401),
        ("ed25519", 401),
        ("ES256", 401),
    ] {
        let header = json!({"alg": alg, "kid": app.key_id});
        let answer = server.ask(&app.key.sign(&header, &app.claims()), "").await;
        assert_eq!(answer.status, status, "{alg} {answer:?}");
    }
    // An app may be given its key under either name.
    let key = TestKey::ed25519();
    let body = json!({
        "name": "other", "scopes": ["tracking_api:write"], "token_lifetime": "1d",
        "public_key": {"name": "first", "pem": key.public_pem, "algorithm": "Ed25519"},
    });
    let made = tenant.call("POST", "/apps", Some(body)).await;
    assert_eq!(made.status, 201, "{made:?}");
}

#[tokio::test]
async fn form_in_another_charset_is_rejected() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant
        .app_with(&TestKey::rsa(Algorithm::Rs256), &["tracking_api:write"])
        .await;
    for (content_type, status) in [
        ("application/x-www-form-urlencoded", 200),
        ("application/x-www-form-urlencoded;charset=UTF-8", 200),
        ("Application/X-WWW-Form-Urlencoded ; Charset=\"utf-8\"", 200),
        ("application/x-www-form-urlencoded; charset=us-ascii", 200),
        ("application/x-www-form-urlencoded;charset=utf-16", 400),
        ("application/x-www-form-urlencoded;charset=utf-16le", 400),
        ("application/x-www-form-urlencoded;charset=iso-8859-1", 400),
        ("application/x-www-form-urlencoded;charset=", 400),
        (
            "application/x-www-form-urlencoded;charset=utf-8;charset=utf-16",
            400,
        ),
        ("application/x-www-form-urlencoded, text/plain", 415),
        ("text/plain", 415),
    ] {
        for path in ["/token", "/introspect", "/revoke"] {
            let form = format!("{}&token=x", crate::support::form(&app.assertion(), ""));
            let headers = [("Content-Type", content_type)];
            let answer = server.send("POST", path, &headers, form.as_bytes()).await;
            assert_eq!(answer.status, status, "{path} {content_type} {answer:?}");
            if status != 200 {
                assert_error(&answer, status, "invalid_request");
            }
        }
    }
    let twice = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Content-Type", "text/plain"),
    ];
    let form = crate::support::form(&app.assertion(), "");
    let answer = server.send("POST", "/token", &twice, form.as_bytes()).await;
    assert_error(&answer, 415, "invalid_request");
    let authorization = format!("Bearer {}", tenant.api_token);
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json; charset=utf-16"),
    ];
    let target = format!("/api/v1/workspaces/{}", tenant.id);
    let json = server
        .send("PATCH", &target, &headers, br#"{"name":"Other"}"#)
        .await;
    assert_eq!(
        (json.status, json.problem().as_str()),
        (415, "charset-unsupported")
    );
}
