//! Revoking one token.

use portcullis::clock::guard::KEPT_AFTER_END_S;
use portcullis::domain::time::UnixSeconds;
use serde_json::json;

use crate::support::{Answer, NOW, TempDir, Tenant, TestApp, TestControl, TestKey, claims_of};

async fn revoke(tenant: &Tenant<'_>, app: &TestApp<'_>, token: &str) -> Answer {
    let path = format!("/apps/{}/tokens/revoke", app.id());
    tenant.call("POST", &path, Some(json!({"token": token}))).await
}

#[tokio::test]
async fn revoking_a_token_is_idempotent() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let token = app.token().await;

    let first = revoke(&tenant, &app, &token).await;
    assert_eq!(
        (first.status, &first.json()["status"]),
        (200, &json!("revoked")),
        "{first:?}"
    );
    let snapshot = server.control.fleet.snapshot().await.unwrap();
    let [revocation] = snapshot.revocations.as_slice() else {
        panic!("{:?}", snapshot.revocations)
    };
    assert_eq!(revocation.issuer, server.issuer());
    assert_eq!(json!(revocation.token_id), claims_of(&token)["jti"]);
    // The gateway still takes the token during the leeway, so the entry must outlive it.
    assert_eq!(revocation.expires_at, NOW + 86_400 + 5);

    let (begin, end) = token.split_at(70);
    // As it is copied out of a request, or out of a window that breaks lines.
    for pasted in [
        format!("  {token}\n"),
        format!("bearer {token}"),
        format!("{begin}\r\n  {end}"),
    ] {
        let again = revoke(&tenant, &app, &pasted).await;
        assert_eq!((again.status, &again.json()["status"]), (200, &json!("revoked")));
    }
    assert_eq!(
        server.control.fleet.snapshot().await.unwrap().version,
        snapshot.version,
        "nothing had to change"
    );
}

#[tokio::test]
async fn garbage_and_foreign_tokens_get_the_same_response() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (tenant, other) = (server.workspace().await, server.workspace().await);
    let (app, sibling, stranger) = (tenant.app().await, tenant.app().await, other.app().await);
    let token = app.token().await;
    let (input, signature) = token.rsplit_once('.').unwrap();
    let forged = TestKey::p256().sign(
        &json!({"alg": "ES256", "kid": "x", "typ": "at+jwt"}),
        &claims_of(&token),
    );
    let tokens = [
        "garbage".to_owned(),
        input.to_owned(),
        format!("{input}.{}", signature.chars().rev().collect::<String>()),
        token[..token.len() - 1].to_owned(),
        forged,
        sibling.token().await,
        stranger.token().await,
    ];
    let before = server.control.fleet.snapshot().await.unwrap().version;
    let usual = revoke(&tenant, &app, "garbage").await;
    assert_eq!((usual.status, &usual.json()["field"]), (422, &json!("token")));
    for token in tokens {
        assert_eq!(revoke(&tenant, &app, &token).await.body, usual.body, "{token}");
    }
    let nothing = revoke(&tenant, &app, " Bearer \n").await;
    assert_eq!((nothing.status, &nothing.json()["field"]), (422, &json!("token")));
    assert_eq!(nothing.json()["detail"], "paste the token to revoke");
    // The response to another app's expired token is the same.
    let theirs = stranger.token().await;
    server.clock.set(UnixSeconds(NOW + 86_400 * 2));
    assert_eq!(revoke(&tenant, &app, &theirs).await.body, usual.body);
    assert_eq!(server.control.fleet.snapshot().await.unwrap().version, before);
}

#[tokio::test]
async fn revoking_an_expired_token_answers_expired() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let token = app.token().await;
    server.clock.set(UnixSeconds(NOW + 86_400 + 5));
    let answer = revoke(&tenant, &app, &token).await;
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (200, &json!("expired"))
    );
    assert!(
        server
            .control
            .fleet
            .snapshot()
            .await
            .unwrap()
            .revocations
            .is_empty()
    );
}

#[tokio::test]
async fn revocation_entry_expires_a_day_after_its_token() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    revoke(&tenant, &app, &app.token().await).await;
    // A clock that is ahead for a while leaves nothing out that is refused again when it is set back.
    let day_after = NOW + 86_400 + 5 + KEPT_AFTER_END_S;
    server.clock.set(UnixSeconds(day_after));
    server.control.purge().await;
    assert_eq!(
        server.control.fleet.snapshot().await.unwrap().revocations.len(),
        1
    );
    server.clock.set(UnixSeconds(day_after + 1));
    server.control.purge().await;
    assert_eq!(
        server.control.fleet.snapshot().await.unwrap().revocations.len(),
        0
    );
}
