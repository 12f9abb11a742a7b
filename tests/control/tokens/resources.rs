//! Resource indicators (RFC 8707): the `resource` that a client names becomes the audience of its token.

use serde_json::json;

use crate::support::{AUDIENCE, Answer, TempDir, TestApp, TestControl, claims_of, form};

const EU: &str = "https://eu.gateway.test";
const US: &str = "https://us.gateway.test/events";

async fn start(dir: &TempDir) -> TestControl {
    TestControl::start_with(dir, |settings| {
        settings.resources = vec![EU.to_owned(), US.to_owned()];
    })
    .await
}

async fn ask(server: &TestControl, app: &TestApp<'_>, resources: &[&str]) -> Answer {
    let mut body = form(&app.assertion(), "tracking_api:write");
    for resource in resources {
        body.push_str("&resource=");
        body.push_str(
            &resource
                .replace(':', "%3A")
                .replace('/', "%2F")
                .replace('#', "%23"),
        );
    }
    server.post_token("/token", &body).await
}

#[tokio::test]
async fn resource_becomes_the_audience() {
    let dir = TempDir::new();
    let server = start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    for (resources, audience) in [
        (&[][..], AUDIENCE),
        (&[""], AUDIENCE),
        (&[AUDIENCE], AUDIENCE),
        (&[EU], EU),
        (&["https://eu.gateway.test/"], EU),
        (&[US], US),
        (&[EU, EU], EU),
        // One token for two gateways has the audience that both accept.
        (&[EU, US], AUDIENCE),
    ] {
        let answer = ask(&server, &app, resources).await;
        assert_eq!(answer.status, 200, "{resources:?} {answer:?}");
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(claims_of(&token)["aud"], audience, "{resources:?}");
    }
}

#[tokio::test]
async fn unknown_resource_is_invalid_target() {
    let dir = TempDir::new();
    let server = start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    for resources in [
        &["https://elsewhere.test"][..],
        &[EU, "https://elsewhere.test"],
        &["https://elsewhere.test", EU],
        &["https://eu.gateway.test/v1"],
        &["https://eu.gateway.test#fragment"],
        &["http://eu.gateway.test"],
        &["not a url"],
    ] {
        let answer = ask(&server, &app, resources).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("invalid_target")),
            "{resources:?}"
        );
        assert!(answer.json()["error_description"].is_string());
    }
}

#[tokio::test]
async fn token_of_a_resource_is_active_and_revocable() {
    let dir = TempDir::new();
    let server = start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let token = ask(&server, &app, &[EU]).await.json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let introspect = async |server: &TestControl| {
        let authorization = format!("Bearer {}", tenant.api_token);
        let headers = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Authorization", authorization.as_str()),
        ];
        let body = format!("token={token}");
        let answer = server.send("POST", "/introspect", &headers, body.as_bytes());
        answer.await.json()
    };
    let active = introspect(&server).await;
    assert_eq!((&active["active"], &active["aud"]), (&json!(true), &json!(EU)));
    let path = format!("/apps/{}/tokens/revoke", app.id());
    let revoked = tenant.call("POST", &path, Some(json!({ "token": token }))).await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    assert_eq!(introspect(&server).await, json!({"active": false}));
}
