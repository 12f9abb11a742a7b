//! What the token endpoint accepts: everything that released clients send.

use portcullis::control::AppChange;
use portcullis::domain::access_token::VerifiedToken;
use portcullis::domain::key::Algorithm;
use portcullis::domain::policy::{Freshness, WhenStale};
use portcullis::snapshot;
use serde_json::{Value, json};

use crate::support::{AUDIENCE, NOW, OPERATOR, TempDir, TestControl, TestKey, claims_of, form, header_of};

const FRESHNESS: Freshness = Freshness {
    max_age_s: 3600,
    when_stale: WhenStale::Deny,
};

#[tokio::test]
async fn token_response_is_what_every_sdk_needs() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;

    let answer = server.ask(&app.assertion(), "tracking_api:write").await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("pragma"), Some("no-cache"));
    assert!(answer.header("date").is_some());
    let body = answer.json();
    assert_eq!(body["expires_in"], json!(86_400));
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["scope"], "tracking_api:write");
    let token = body["access_token"].as_str().unwrap();
    let header = header_of(token);
    assert_eq!(
        (&header["alg"], &header["typ"]),
        (&json!("ES256"), &json!("at+jwt"))
    );
    let claims = claims_of(token);
    assert_eq!(claims["iss"], server.issuer());
    assert_eq!(
        (&claims["sub"], &claims["client_id"]),
        (&json!(app.id()), &json!(app.id()))
    );
    assert_eq!(claims["aud"], AUDIENCE);
    assert_eq!(
        (&claims["iat"], &claims["exp"]),
        (&json!(NOW), &json!(NOW + 86_400))
    );
    assert_eq!(claims["scope"], "tracking_api:write");
    assert_eq!(claims["workspace_id"], tenant.id.as_str());
    assert_eq!(claims["client_key_id"], app.key_id);
    assert!(claims["jti"].as_str().unwrap().len() >= 22);
}

#[tokio::test]
async fn token_of_each_algorithm_verifies_with_the_published_keys() {
    for (signing, client) in [
        (Algorithm::Rs256, TestKey::rsa(Algorithm::Rs256)),
        (Algorithm::Ps256, TestKey::rsa(Algorithm::Ps256)),
        (Algorithm::Es256, TestKey::p256()),
        (Algorithm::EdDsa, TestKey::ed25519()),
    ] {
        let dir = TempDir::new();
        let server = TestControl::start_signing(&dir, signing).await;
        let tenant = server.workspace().await;
        let app = tenant.app_with(&client, &["tracking_api:write"]).await;
        let token = app.token().await;
        assert_eq!(header_of(&token)["alg"], signing.as_str());

        // As a gateway sees it: the key set, fetched over HTTP, and the real verifier.
        let key_set = server.send("GET", "/.well-known/jwks.json", &[], b"").await;
        assert_eq!(key_set.header("cache-control"), Some("public, max-age=300"));
        let mut snapshot = server.control.fleet.snapshot().await.unwrap();
        let issuer = snapshot.issuer.as_mut().unwrap();
        issuer.keys = serde_json::from_value(key_set.json()["keys"].clone()).unwrap();
        let policy = snapshot::compile(&snapshot, &[], FRESHNESS).unwrap();
        let verified = VerifiedToken::verify(&token, &policy).unwrap();
        assert_eq!(verified.app().as_str(), app.id());
        assert!(
            !key_set.json().to_string().contains("\"d\""),
            "no private member is published"
        );
    }
}

#[tokio::test]
async fn assertion_claims_of_each_client_are_accepted() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let issuer = server.issuer();
    for (name, value) in [
        ("exp", json!(NOW + 55)),
        ("exp", json!(NOW + 3_595)),
        ("exp", json!(1_795_323_655.717)),
        ("exp", json!((NOW + 55).to_string())),
        ("exp", json!(format!("{}.717", NOW + 55))),
        ("iat", json!(1_795_323_595.717)),
        ("iat", json!((NOW - 5).to_string())),
        ("iat", Value::Null),
        ("nbf", json!(NOW)),
        ("iss", json!(app.id())),
        ("iss", json!(issuer)),
        ("iss", json!(format!("{issuer}/"))),
        ("iss", Value::Null),
        ("aud", json!(issuer)),
        ("aud", json!(format!("{issuer}/"))),
        ("aud", json!(format!("{issuer}/token"))),
        ("aud", json!([issuer])),
        ("jti", json!(17)),
        ("jti", Value::Null),
    ] {
        let answer = server
            .ask(&app.assertion_with(name, value.clone()), "tracking_api:write")
            .await;
        assert_eq!(answer.status, 200, "{name} {value}: {answer:?}");
    }
}

#[tokio::test]
async fn raw_and_percent_encoded_forms_are_accepted_on_both_paths() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant
        .app_with(&TestKey::p256(), &["tracking_api:write", "functions:write"])
        .await;
    let scopes = "functions:write tracking_api:write";
    let encode = |form: String| form.replace(':', "%3A").replace(' ', "%20");
    for (path, form) in [
        ("/token", form(&app.assertion(), scopes)),
        ("//token", form(&app.assertion(), scopes)),
        ("/token", encode(form(&app.assertion(), scopes))),
        ("/token", form(&app.assertion(), scopes).replace(' ', "+")),
        (
            "/token",
            format!(
                "{}&client_id={}&unknown=1",
                form(&app.assertion(), scopes),
                app.id()
            ),
        ),
    ] {
        let answer = server.post_token(path, &form).await;
        assert_eq!(answer.status, 200, "{path} {form}: {answer:?}");
        assert_eq!(answer.json()["scope"], scopes);
    }
}

#[tokio::test]
async fn token_without_requested_scope_has_all_scopes_of_the_app() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant
        .app_with(&TestKey::p256(), &["tracking_api:write", "functions:write"])
        .await;
    let answer = server.ask(&app.assertion(), "").await;
    assert_eq!(answer.json()["scope"], "functions:write tracking_api:write");
}

#[tokio::test]
async fn expires_in_is_the_configured_token_lifetime() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    for (name, days) in [
        ("1d", 1),
        ("2d", 2),
        ("3d", 3),
        ("1w", 7),
        ("2w", 14),
        ("3w", 21),
        ("30d", 30),
    ] {
        let change = AppChange {
            token_lifetime: Some(name.to_owned()),
            ..AppChange::default()
        };
        server
            .control
            .apps
            .update(&OPERATOR, &tenant.id, &app.details.app.id, change)
            .await
            .unwrap();
        let answer = server.ask(&app.assertion(), "").await;
        assert_eq!(answer.json()["expires_in"], json!(days * 86_400), "{name}");
    }
}

#[tokio::test]
async fn burst_of_requests_gets_one_token_each() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let assertions: Vec<_> = (0..32).map(|_| app.assertion()).collect();
    let answers = futures::future::join_all(
        assertions
            .iter()
            .map(|assertion| server.ask(assertion, "tracking_api:write")),
    );
    let mut ids: Vec<String> = Vec::new();
    for answer in answers.await {
        assert_eq!(answer.status, 200, "{answer:?}");
        ids.push(claims_of(answer.json()["access_token"].as_str().unwrap())["jti"].to_string());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 32, "every token has an id of its own");
}

#[tokio::test]
async fn metadata_lists_only_what_is_served() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let answer = server
        .send("GET", "/.well-known/oauth-authorization-server", &[], b"")
        .await;
    assert_eq!(answer.status, 200);
    let metadata = answer.json();
    let issuer = server.issuer();
    assert_eq!(metadata["issuer"], issuer);
    assert_eq!(metadata["token_endpoint"], format!("{issuer}/token"));
    assert_eq!(metadata["jwks_uri"], format!("{issuer}/.well-known/jwks.json"));
    assert_eq!(metadata["grant_types_supported"], json!(["client_credentials"]));
    assert_eq!(metadata["response_types_supported"], json!([]));
    assert_eq!(
        metadata["token_endpoint_auth_methods_supported"],
        json!(["private_key_jwt"])
    );
    assert!(metadata.get("authorization_endpoint").is_none());
}

#[tokio::test]
async fn last_use_of_a_key_is_stored_in_batches() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let last_used = async || {
        let found = server
            .control
            .apps
            .get(&OPERATOR, &tenant.id, &app.details.app.id)
            .await
            .unwrap();
        found.keys[0].last_used_at.map(|at| at.0)
    };
    assert_eq!(last_used().await, None);
    app.token().await;
    server.control.usage.flush_uses().await;
    assert_eq!(last_used().await, Some(NOW));
}

#[tokio::test]
async fn token_requests_are_counted_by_result() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let registry = prometheus::Registry::new();
    server.control.register_metrics(&registry).unwrap();
    let assertion = app.assertion();
    server.ask(&assertion, "").await;
    server.ask(&assertion, "").await;
    server.ask(&app.assertion(), "functions:write").await;
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    for result in ["ok", "invalid_client", "invalid_scope"] {
        let line = format!("portcullis_tokens_issued_total{{result=\"{result}\"}} 1\n");
        assert!(text.contains(&line), "{text}");
    }
}
