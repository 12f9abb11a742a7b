//! Public keys that expire: until then they prove requests, then they do not, and people are warned before.

use portcullis::domain::time::UnixSeconds;
use serde_json::{Value, json};

use crate::support::{DEADLINE, NOW, TempDir, Tenant, TestApp, TestControl, TestKey, unique};

const DAY_S: u64 = 86_400;

fn at(seconds: u64) -> String {
    let moment = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap();
    moment.to_string()
}

/// An app with a further key that expires after so many seconds, to sign with.
async fn with_expiring<'s>(tenant: &Tenant<'s>, after_s: u64) -> (TestApp<'s>, Value) {
    let mut app = tenant.app().await;
    let key = TestKey::p256();
    let body = json!({"name": "next", "pem": key.public_pem, "expires_at": at(NOW + after_s)});
    let made = tenant
        .call("POST", &format!("/apps/{}/keys", app.id()), Some(body))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    app.key_id = made.json()["id"].as_str().unwrap().to_owned();
    app.key = key;
    (app, made.json())
}

/// An assertion of now.
fn assertion(app: &TestApp<'_>, now: u64) -> String {
    let mut claims = app.claims();
    claims["iat"] = json!(now - 5);
    claims["exp"] = json!(now + 55);
    claims["jti"] = json!(unique());
    app.key.sign(&app.header(), &claims)
}

#[tokio::test]
async fn expired_key_gets_no_token_at_any_endpoint() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let (app, _) = with_expiring(&tenant, 3_600).await;
    let last = NOW + 3_599;
    server.clock.set(UnixSeconds(last));
    let answer = server.ask(&assertion(&app, last), "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();

    let expired = NOW + 3_600;
    server.clock.set(UnixSeconds(expired));
    let refused = server.ask(&assertion(&app, expired), "").await;
    assert_eq!(
        (refused.status, refused.json()["error"].as_str()),
        (401, Some("invalid_client"))
    );
    let description = refused.json()["error_description"].as_str().unwrap().to_owned();
    assert!(
        description.contains("expired; add a new key to the OAuth app"),
        "{description}"
    );
    for path in ["/introspect", "/revoke"] {
        let form = format!(
            "token={token}&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer\
             &client_assertion={}",
            assertion(&app, expired)
        );
        assert_eq!(server.post_token(path, &form).await.status, 401, "{path}");
    }
    // Without `kid` the app's keys are tried; that one of them fits does not help.
    let mut header = app.header();
    header.as_object_mut().unwrap().remove("kid");
    let mut claims = app.claims();
    claims["iat"] = json!(expired);
    claims["exp"] = json!(expired + 55);
    let unnamed = server.ask(&app.key.sign(&header, &claims), "").await;
    assert_eq!(unnamed.status, 401, "{unnamed:?}");
    // Gateways accept the token until it expires: the key is still one of the app.
    let snapshot = server.control.fleet.snapshot().await.unwrap();
    let record = snapshot.apps.iter().find(|record| record.id == app.id()).unwrap();
    assert!(record.keys.as_ref().unwrap().contains(&app.key_id));
}

#[tokio::test]
async fn key_expiry_is_shown_and_warned_of_14_days_before() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let (app, made) = with_expiring(&tenant, 30 * DAY_S).await;
    assert_eq!(made["expires_at"], at(NOW + 30 * DAY_S));
    let shown = async || {
        let answer = tenant.call("GET", &format!("/apps/{}", app.id()), None).await;
        answer.json()["keys"].as_array().unwrap().clone()
    };
    let soon = |keys: &[Value]| -> Vec<bool> {
        keys.iter()
            .map(|key| key["expires_soon"].as_bool().unwrap())
            .collect()
    };
    let keys = shown().await;
    assert_eq!(keys[0]["expires_at"], Value::Null, "a key without expiry");
    assert_eq!(soon(&keys), [false, false]);
    for (days, expected) in [(15, false), (16, true), (31, true)] {
        server.clock.set(UnixSeconds(NOW + days * DAY_S));
        assert_eq!(soon(&shown().await), [false, expected], "after {days} days");
    }
}

#[tokio::test]
async fn key_expiry_must_be_in_the_next_ten_years() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    for expires_at in [
        at(NOW),
        at(NOW - 1),
        at(NOW + 3_654 * DAY_S),
        "tomorrow".to_owned(),
        String::new(),
    ] {
        let body = json!({"name": "next", "pem": TestKey::p256().public_pem, "expires_at": expires_at});
        let path = format!("/apps/{}/keys", app.id());
        let call = tenant.call("POST", &path, Some(body.clone()));
        let answer = tokio::time::timeout(DEADLINE, call).await.unwrap();
        assert_eq!(
            (answer.status, answer.json()["field"].as_str()),
            (422, Some("expires_at"))
        );
        let new = json!({"name": "other", "scopes": ["tracking_api:write"], "public_key": body});
        let answer = tenant.call("POST", "/apps", Some(new)).await;
        assert_eq!(
            (answer.status, answer.json()["field"].as_str()),
            (422, Some("public_key.expires_at"))
        );
    }
}
