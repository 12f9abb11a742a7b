//! Revocation by the app itself (RFC 7009) and introspection by upstreams (RFC 7662).

use portcullis::control::TokensOf;
use portcullis::domain::time::UnixSeconds;
use serde_json::{Value, json};

use crate::support::{Answer, NOW, OPERATOR, TempDir, TestApp, TestControl, TestKey, claims_of};

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Posts a token as an app, with a fresh assertion.
async fn post(server: &TestControl, path: &str, app: &TestApp<'_>, token: &str) -> Answer {
    let form = format!(
        "token={token}&client_assertion_type={TYPE}&client_assertion={}",
        app.assertion()
    );
    server.post_token(path, &form).await
}

async fn introspect_as_member(server: &TestControl, api_token: &str, token: &str) -> Answer {
    let authorization = format!("Bearer {api_token}");
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Authorization", authorization.as_str()),
    ];
    server
        .send(
            "POST",
            "/introspect",
            &headers,
            format!("token={token}").as_bytes(),
        )
        .await
}

#[track_caller]
fn assert_inactive(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, br#"{"active":false}"#.as_slice()),
        "{answer:?}"
    );
}

async fn is_active(server: &TestControl, app: &TestApp<'_>, token: &str) -> bool {
    post(server, "/introspect", app, token).await.json()["active"] == true
}

#[tokio::test]
async fn app_revokes_only_its_own_tokens() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let (app, other) = (tenant.app().await, tenant.app().await);
    let (mine, kept, theirs) = (app.token().await, app.token().await, other.token().await);
    let version = server.control.fleet.snapshot().await.unwrap().version;
    let usual = post(&server, "/revoke", &app, "garbage").await;
    assert_eq!(
        (usual.status, usual.body.len(), usual.header("cache-control")),
        (200, 0, Some("no-store"))
    );
    let answer = post(&server, "/revoke", &app, &theirs).await;
    assert_eq!((answer.status, &answer.body), (200, &usual.body));
    assert_eq!(
        server.control.fleet.snapshot().await.unwrap().version,
        version,
        "nothing was touched"
    );
    assert!(is_active(&server, &other, &theirs).await);
    for _ in 0..2 {
        let answer = post(&server, "/revoke", &app, &mine).await;
        assert_eq!((answer.status, &answer.body), (200, &usual.body));
        assert_inactive(&post(&server, "/introspect", &app, &mine).await);
    }
    assert!(is_active(&server, &app, &kept).await);
    let snapshot = server.control.fleet.snapshot().await.unwrap();
    assert_eq!(snapshot.revocations.len(), 1);
    assert_eq!(json!(snapshot.revocations[0].token_id), claims_of(&mine)["jti"]);
}

#[tokio::test]
async fn unauthenticated_client_is_rejected_at_revoke_and_introspect() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let token = app.token().await;
    for path in ["/revoke", "/introspect"] {
        let used = app.assertion();
        let proof = |assertion: &str| format!("client_assertion_type={TYPE}&client_assertion={assertion}");
        let first = format!("token=x&{}", proof(&used));
        assert_eq!(server.post_token(path, &first).await.status, 200);
        let forged = TestKey::p256().sign(&app.header(), &app.claims());
        for (form, status, error) in [
            (format!("token={token}"), 401, "invalid_client"),
            (first, 401, "invalid_client"),
            (format!("token={token}&{}", proof(&forged)), 401, "invalid_client"),
            (
                format!("token={token}&client_secret=x&{}", proof(&app.assertion())),
                401,
                "invalid_client",
            ),
            (proof(&app.assertion()), 400, "invalid_request"),
            (
                format!("token=&{}", proof(&app.assertion())),
                400,
                "invalid_request",
            ),
            (
                format!("token=a&token=a&{}", proof(&app.assertion())),
                400,
                "invalid_request",
            ),
        ] {
            let answer = server.post_token(path, &form).await;
            assert_eq!(
                (answer.status, &answer.json()["error"]),
                (status, &json!(error)),
                "{path} {answer:?}"
            );
            assert!(answer.json()["error_description"].is_string());
        }
        let json = server
            .send("POST", path, &[("Content-Type", "application/json")], b"{}")
            .await;
        assert_eq!(
            (json.status, &json.json()["error"]),
            (415, &json!("invalid_request"))
        );
        assert_eq!(server.send("GET", path, &[], b"").await.status, 405);
        let long = format!("token={}&{}", "x".repeat(70_000), proof(&app.assertion()));
        assert_eq!(server.post_token(path, &long).await.status, 413);
    }
    assert!(is_active(&server, &app, &token).await, "and nothing was revoked");
}

#[tokio::test]
async fn introspection_is_limited_to_the_workspace() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (tenant, elsewhere) = (server.workspace().await, server.workspace().await);
    let app = tenant
        .app_with(&TestKey::p256(), &["tracking_api:write", "functions:write"])
        .await;
    let (sibling, stranger) = (tenant.app().await, elsewhere.app().await);
    let token = app.token().await;
    let claims = claims_of(&token);
    let expected = json!({
        "active": true, "token_type": "Bearer",
        "scope": claims["scope"], "client_id": app.id(), "sub": app.id(), "aud": claims["aud"], "iss": claims["iss"],
        "exp": claims["exp"], "iat": claims["iat"], "jti": claims["jti"], "workspace_id": claims["workspace_id"],
    });
    let of_sibling = post(&server, "/introspect", &sibling, &token).await;
    assert_eq!((of_sibling.status, of_sibling.json()), (200, expected.clone()));
    assert_eq!(of_sibling.header("cache-control"), Some("no-store"));
    let of_member = introspect_as_member(&server, &tenant.api_token, &token).await;
    assert_eq!((of_member.status, of_member.json()), (200, expected));
    assert_inactive(&post(&server, "/introspect", &stranger, &token).await);
    assert_inactive(&introspect_as_member(&server, &elsewhere.api_token, &token).await);
    for garbage in ["garbage", &token[..token.len() - 2], tenant.api_token.as_str()] {
        assert_inactive(&post(&server, "/introspect", &app, garbage).await);
    }
    let denied = introspect_as_member(&server, "pcl_nobodys", &token).await;
    assert_eq!(
        (denied.status, &denied.json()["error"]),
        (401, &json!("invalid_token"))
    );
    assert!(denied.header("www-authenticate").unwrap().starts_with("Bearer"));
}

#[tokio::test]
async fn token_that_gateways_deny_is_inactive() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let watcher = tenant.app().await;
    let control = &server.control;
    let revoke_all = async |tokens: TokensOf<'_>| {
        let revoked = control.revocation.revoke_all(&OPERATOR, &tenant.id, tokens, None);
        revoked.await.map(drop).unwrap();
    };
    let tokens_of = async |ended: &str| {
        let app = tenant.app().await;
        let token = app.token().await;
        let (id, key) = (&app.details.app.id, &app.details.keys[0].id);
        match ended {
            "the app" => control
                .apps
                .delete(&OPERATOR, &tenant.id, id, "sender")
                .await
                .unwrap(),
            "the key's tokens" => revoke_all(TokensOf::Key(id, key)).await,
            "the app's tokens" => revoke_all(TokensOf::App(id)).await,
            "the scope" => {
                let change = portcullis::control::AppChange {
                    scopes: Some(vec!["functions:write".to_owned()]),
                    ..Default::default()
                };
                control
                    .apps
                    .update(&OPERATOR, &tenant.id, id, change)
                    .await
                    .map(drop)
                    .unwrap();
            }
            _ => {}
        }
        token
    };
    for ended in ["the app", "the key's tokens", "the app's tokens", "the scope"] {
        assert_inactive(&post(&server, "/introspect", &watcher, &tokens_of(ended).await).await);
    }
    let token = tokens_of("nothing").await;
    assert!(is_active(&server, &watcher, &token).await);
    revoke_all(TokensOf::Workspace).await;
    assert_inactive(&post(&server, "/introspect", &watcher, &token).await);
    let token = watcher.token().await;
    assert!(is_active(&server, &watcher, &token).await);
    // To the second, although gateways allow for a clock that is behind. The watcher's own clock goes along.
    let end = NOW + 86_400;
    let at = |now: u64| {
        let claims: Value =
            json!({"sub": watcher.id(), "aud": server.issuer(), "iat": now - 5, "exp": now + 55, "jti": now});
        let assertion = watcher.key.sign(&watcher.header(), &claims);
        format!("token={token}&client_assertion_type={TYPE}&client_assertion={assertion}")
    };
    server.clock.set(UnixSeconds(end - 1));
    assert_eq!(
        server.post_token("/introspect", &at(end - 1)).await.json()["active"],
        true
    );
    server.clock.set(UnixSeconds(end));
    assert_inactive(&server.post_token("/introspect", &at(end)).await);
}

#[tokio::test]
async fn metadata_lists_revocation_and_introspection() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let metadata = server
        .send("GET", "/.well-known/oauth-authorization-server", &[], b"")
        .await
        .json();
    let issuer = server.issuer();
    assert_eq!(metadata["revocation_endpoint"], format!("{issuer}/revoke"));
    assert_eq!(metadata["introspection_endpoint"], format!("{issuer}/introspect"));
    assert_eq!(
        metadata["revocation_endpoint_auth_methods_supported"],
        json!(["private_key_jwt"])
    );
    assert_eq!(
        metadata["introspection_endpoint_auth_methods_supported"],
        json!(["private_key_jwt", "Bearer"])
    );
    for endpoint in ["token", "revocation", "introspection"] {
        let algorithms = &metadata[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")];
        assert_eq!(
            *algorithms,
            json!(["RS256", "PS256", "ES256", "EdDSA", "Ed25519"])
        );
    }
}
