//! Revoking all tokens: of an app, of a key, of a workspace; and one token by its id alone.

use portcullis::domain::access_token::VerifiedToken;
use portcullis::domain::decide::decide;
use portcullis::domain::decision::Decision;
use portcullis::domain::facts::{
    CredentialFact, RequestFacts, RouteFacts, SourceFact, UnknownSources, WithoutToken,
};
use portcullis::domain::policy::{Freshness, WhenStale};
use portcullis::domain::scope::Scope;
use portcullis::domain::time::UnixSeconds;
use portcullis::domain::token_id;
use portcullis::snapshot;
use serde_json::{Value, json};

use crate::support::{
    Answer, NOW, OPERATOR, TempDir, Tenant, TestApp, TestControl, TestKey, claims_of, new_app,
};

/// Whether gateways that have the newest policy take the token.
async fn lives(server: &TestControl, token: &str) -> bool {
    let freshness = Freshness {
        max_age_s: 60,
        when_stale: WhenStale::Deny,
    };
    let snapshot = server.control.fleet.snapshot().await.unwrap();
    let policy = snapshot::compile(&snapshot, &[], freshness).unwrap();
    let token = VerifiedToken::verify(token, &policy).unwrap();
    let scope = Scope::parse("tracking_api:write").unwrap();
    let facts = RequestFacts {
        route: RouteFacts {
            scope: &scope,
            unknown_sources: UnknownSources::Deny,
            without_token: WithoutToken::Deny,
        },
        source: SourceFact::ByToken,
        credential: CredentialFact::Verified(&token),
    };
    let now = UnixSeconds(snapshot.issued_at);
    matches!(decide(&policy, &facts, now), Decision::Allow(_))
}

async fn post(tenant: &Tenant<'_>, path: &str, body: Value) -> Answer {
    tenant.call("POST", path, Some(body)).await
}

/// Another key of an app, and the app seen with it.
async fn with_second_key<'s>(tenant: &Tenant<'s>, app: &TestApp<'s>) -> TestApp<'s> {
    let key = TestKey::p256();
    let new = new_app("x", &[], &key).public_key;
    let made = tenant
        .server
        .control
        .apps
        .add_key(&OPERATOR, &tenant.id, &app.details.app.id, &new)
        .await
        .unwrap();
    TestApp {
        server: app.server,
        details: app.details.clone(),
        key,
        key_id: made.id.to_string(),
    }
}

#[tokio::test]
async fn revoke_all_covers_tokens_of_the_same_second() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let (app, sibling) = (tenant.app().await, tenant.app().await);
    let second = with_second_key(&tenant, &app).await;
    let id = app.id();
    for path in [
        format!("/apps/{id}/tokens/revoke-all"),
        format!("/apps/{id}/keys/{}/revoke-tokens", app.key_id),
        "/tokens/revoke-all".to_owned(),
    ] {
        let before = [app.token().await, second.token().await, sibling.token().await];
        let answer = post(&tenant, &path, json!({})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let survive = match path.as_str() {
            "/tokens/revoke-all" => [false, false, false],
            path if path.contains("/keys/") => [false, true, true],
            _ => [false, false, true],
        };
        for (token, survives) in before.iter().zip(survive) {
            assert_eq!(lives(&server, token).await, survives, "{path}");
        }
        // The clock has not moved: a token issued now must be told from those.
        for after in [app.token().await, second.token().await, sibling.token().await] {
            assert!(lives(&server, &after).await, "{path}");
            assert!(
                claims_of(&after)["iat"].as_u64().unwrap() <= NOW + 3,
                "within the leeway"
            );
        }
    }
}

#[tokio::test]
async fn revoke_all_with_issued_before_keeps_later_tokens() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let early = app.token().await;
    server.clock.set(UnixSeconds(NOW + 20));
    let late = app.token().await;
    let path = format!("/apps/{}/tokens/revoke-all", app.id());
    let at = |seconds: u64, fraction: &str| {
        let moment = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap())
            .unwrap()
            .to_string();
        moment.replace('Z', &format!("{fraction}Z"))
    };
    // A fraction is rounded up: the token may be from before it.
    let answer = post(&tenant, &path, json!({"issued_before": at(NOW, ".001")})).await;
    assert_eq!(answer.json()["issued_before"], at(NOW + 1, ""), "{answer:?}");
    assert!(!lives(&server, &early).await && lives(&server, &late).await);
    // An earlier moment brings nothing back.
    let answer = post(&tenant, &path, json!({"issued_before": at(NOW - 500, "")})).await;
    assert_eq!(answer.json()["issued_before"], at(NOW + 1, ""));
    assert!(!lives(&server, &early).await && lives(&server, &late).await);
    for bad in [
        json!(at(NOW + 60, "")),
        json!("yesterday"),
        json!(NOW),
        json!("1960-01-01T00:00:00Z"),
    ] {
        let answer = post(&tenant, &path, json!({ "issued_before": bad })).await;
        assert_eq!(
            (answer.status, &answer.json()["field"]),
            (422, &json!("issued_before")),
            "{answer:?}"
        );
    }
    assert!(lives(&server, &late).await);
}

#[tokio::test]
async fn jti_is_revoked_only_through_its_own_app() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (tenant, other) = (server.workspace().await, server.workspace().await);
    let (app, sibling, stranger) = (tenant.app().await, tenant.app().await, other.app().await);
    let (token, kept) = (app.token().await, app.token().await);
    let jti = claims_of(&token)["jti"].clone();
    let path = |app: &TestApp<'_>| format!("/apps/{}/tokens/revoke", app.id());
    let refused = post(&tenant, &path(&app), json!({"jti": "garbage"})).await;
    assert_eq!((refused.status, &refused.json()["field"]), (422, &json!("jti")));
    for (tenant, app) in [(&tenant, &sibling), (&other, &stranger)] {
        let answer = post(tenant, &path(app), json!({ "jti": jti })).await;
        assert_eq!(answer.body, refused.body);
    }
    assert!(lives(&server, &token).await);
    for _ in 0..2 {
        let answer = post(&tenant, &path(&app), json!({ "jti": jti })).await;
        assert_eq!(
            (answer.status, &answer.json()["status"]),
            (200, &json!("revoked")),
            "{answer:?}"
        );
    }
    assert!(!lives(&server, &token).await && lives(&server, &kept).await);
    let snapshot = server.control.fleet.snapshot().await.unwrap();
    assert_eq!(
        snapshot.revocations[0].expires_at,
        NOW + 86_400 + 5,
        "the entry ends with the token"
    );
    let both = post(&tenant, &path(&app), json!({"jti": jti, "token": token})).await;
    let neither = post(&tenant, &path(&app), json!({})).await;
    assert_eq!((both.status, neither.status), (422, 422));
    server.clock.set(UnixSeconds(NOW + 86_400 + 5));
    let late = post(&tenant, &path(&app), json!({"jti": claims_of(&kept)["jti"]})).await;
    assert_eq!((late.status, &late.json()["status"]), (200, &json!("expired")));
}

#[tokio::test]
async fn repeated_revoke_all_keeps_iat_within_gateway_leeway() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let of_key = format!("/apps/{}/keys/{}/revoke-tokens", app.id(), app.key_id);
    let of_app = format!("/apps/{}/tokens/revoke-all", app.id());
    for path in [&of_key, &of_app, &"/tokens/revoke-all".to_owned()] {
        let mut refused = 0;
        for _ in 0..8 {
            let answer = post(&tenant, path, json!({})).await;
            if answer.status == 429 {
                refused += 1;
                let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                assert!((1..=4).contains(&wait), "{answer:?}");
            } else {
                // Who ends more is not held up by who ends less.
                assert_eq!((answer.status, refused), (200, 0), "{path}");
            }
        }
        assert!((5..8).contains(&refused), "{path} {refused}");
        let token = app.token().await;
        assert!(lives(&server, &token).await, "{path}");
        let issued_at = claims_of(&token)["iat"].as_u64().unwrap();
        assert!(issued_at <= NOW + 4, "{path} {issued_at}");
    }
    server.clock.set(UnixSeconds(NOW + 4));
    let before = app.token().await;
    assert_eq!(post(&tenant, &of_app, json!({})).await.status, 200);
    assert!(!lives(&server, &before).await && lives(&server, &app.token().await).await);
}

#[tokio::test]
async fn revocations_of_made_up_ids_are_bounded() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let (app, sibling) = (tenant.app().await, tenant.app().await);
    let (token, kept) = (app.token().await, app.token().await);
    let path = format!("/apps/{}/tokens/revoke", app.id());
    let made_up = |at: u64| {
        let random = std::array::from_fn(|place| at.to_be_bytes().get(place).copied().unwrap_or_default());
        token_id::make(&app.details.app.id, UnixSeconds(NOW + 30 * 86_400), random)
    };
    let first = json!({"jti": made_up(0)});
    assert_eq!(post(&tenant, &path, first.clone()).await.status, 200);
    let rows: Vec<String> = (1..1_000)
        .map(|at| {
            format!(
                "('{}', '{}', {}, '{}', {NOW}, 'test')",
                server.issuer(),
                made_up(at),
                NOW + 86_400,
                app.id()
            )
        })
        .collect();
    let text = format!(
        "INSERT INTO revocations (issuer, token_id, expires_at, app, at, reason) VALUES {}",
        rows.join(", ")
    );
    let mut sql = dir.sql().await;
    sqlx::query(sqlx::AssertSqlSafe(text))
        .execute(&mut sql)
        .await
        .unwrap();

    let next = json!({"jti": made_up(1_000)});
    let refused = post(&tenant, &path, next.clone()).await;
    assert_eq!(
        (refused.status, refused.problem().as_str()),
        (409, "too-many-revoked-ids")
    );
    // What is over already is still said to be, a token is its own proof, and other apps are other apps.
    assert_eq!(post(&tenant, &path, first).await.status, 200);
    assert_eq!(post(&tenant, &path, json!({ "token": token })).await.status, 200);
    assert!(!lives(&server, &token).await);
    let sibling_path = format!("/apps/{}/tokens/revoke", sibling.id());
    let theirs = json!({"jti": claims_of(&sibling.token().await)["jti"]});
    assert_eq!(post(&tenant, &sibling_path, theirs).await.status, 200);

    // An app that was issued more may have more revoked.
    server.control.usage.flush_uses().await;
    let issued = format!(
        "UPDATE issued_tokens SET issued = 1500 WHERE app = '{}'",
        app.id()
    );
    sqlx::query(sqlx::AssertSqlSafe(issued))
        .execute(&mut sql)
        .await
        .unwrap();
    assert_eq!(post(&tenant, &path, next).await.status, 200);
    assert_eq!(
        post(&tenant, &path, json!({"jti": claims_of(&kept)["jti"]}))
            .await
            .status,
        200
    );
    assert!(!lives(&server, &kept).await);
}
