//! Limits of changes, and the fair queue in which they wait.

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use portcullis::config::{ControlLimits, Rate};
use portcullis::control::{Actor, NewGrant};
use portcullis::domain::time::UnixSeconds;
use portcullis::model::member::Member;
use serde_json::json;

use crate::support::{Answer, DEADLINE, NOW, OPERATOR, TempDir, Tenant, TestControl, on_postgres};

/// A member of the workspace who has no role but that, with an API token.
async fn member_without_roles(tenant: &Tenant<'_>, email: &str) -> (Member, String) {
    let roles: Vec<NewGrant> = serde_json::from_value(json!([{"role": "workspace_member"}])).unwrap();
    let control = &tenant.server.control;
    let member = control
        .members
        .create_member(&OPERATOR, &tenant.id, email, &roles)
        .await
        .unwrap();
    let token = control
        .api_tokens
        .create_api_token(&OPERATOR, &member.id, "tests", None);
    let token = token.await.unwrap().expose().to_owned();
    (member, token)
}

/// Ends an API token of the member, which the operator has made: one change. Answers the refusal.
async fn change(tenant: &Tenant<'_>, (member, token): &(Member, String)) -> Result<(), Answer> {
    let control = &tenant.server.control;
    let made = control
        .api_tokens
        .create_api_token(&OPERATOR, &member.id, "x", None);
    let path = format!("/api-tokens/{}", made.await.unwrap().details.id);
    let deleted = tenant.call_as(token, "DELETE", &path, None).await;
    if deleted.status == 204 {
        Ok(())
    } else {
        Err(deleted)
    }
}

/// Makes a source and deletes it, as the owner.
async fn owner_changes_a_source(tenant: &Tenant<'_>) {
    let source = tenant.source("http_api").await;
    let deleted = tenant
        .call("DELETE", &format!("/sources/{}", source.id), None)
        .await;
    assert_eq!(deleted.status, 204);
}

#[tokio::test]
async fn member_without_roles_has_a_lower_change_limit() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let member = member_without_roles(&tenant, "member@example.com").await;
    let other = member_without_roles(&tenant, "other@example.com").await;
    let mut made = 0;
    let refused = loop {
        match change(&tenant, &member).await {
            Ok(()) => made += 1,
            Err(refused) => break refused,
        }
        assert!(made <= 60, "nothing holds a member without roles back");
    };
    assert_eq!(made, 60);
    assert_eq!(
        (
            refused.status,
            refused.problem().as_str(),
            refused.header("retry-after")
        ),
        (429, "too-many-requests", Some("1"))
    );
    // They may still read, and others may still change.
    assert_eq!(
        tenant.call_as(&member.1, "GET", "/api-tokens", None).await.status,
        200
    );
    change(&tenant, &other).await.unwrap();
    for _ in 0..100 {
        owner_changes_a_source(&tenant).await;
    }
    server.clock.set(UnixSeconds(NOW + 2));
    change(&tenant, &member).await.unwrap();
}

#[tokio::test]
async fn members_without_roles_share_a_change_limit() {
    let dir = TempDir::new();
    let rate = Rate {
        burst: 16,
        per_second: 1,
    };
    let server = TestControl::start_with(&dir, |settings| {
        settings.limits = ControlLimits {
            changes_member: rate,
            ..ControlLimits::default()
        };
    })
    .await;
    let tenant = server.workspace().await;
    let mut made = 0;
    for at in 0..10 {
        let member = member_without_roles(&tenant, &format!("member-{at}@example.com")).await;
        while change(&tenant, &member).await.is_ok() {
            made += 1;
        }
    }
    assert_eq!(made, 8 * 16, "eight times what one of them may");
    owner_changes_a_source(&tenant).await;
}

#[tokio::test]
async fn opening_sessions_is_rate_limited() {
    let dir = TempDir::new();
    let rate = Rate {
        burst: 16,
        per_second: 1,
    };
    let server = TestControl::start_with(&dir, |settings| {
        settings.limits = ControlLimits {
            changes_member: rate,
            ..ControlLimits::default()
        };
    })
    .await;
    let tenant = server.workspace().await;
    let (member, _) = member_without_roles(&tenant, "member@example.com").await;
    let password = server
        .control
        .passwords
        .set_new_password(&OPERATOR, &member)
        .await
        .unwrap();
    let body = json!({"email": member.email, "password": *password}).to_string();
    let headers = [("Content-Type", "application/json")];
    let sign_in = async || {
        server
            .send("POST", "/api/v1/session", &headers, body.as_bytes())
            .await
    };
    for _ in 0..16 {
        assert_eq!(sign_in().await.status, 201);
    }
    let refused = sign_in().await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    server.clock.set(UnixSeconds(NOW + 1));
    assert_eq!(sign_in().await.status, 201);
}

/// Keeps the store from everybody who wants to write to it, until the connection is dropped.
async fn lock_writers(dir: &TempDir) -> sqlx::AnyConnection {
    let mut sql = dir.sql().await;
    let lock = if on_postgres() {
        "BEGIN; UPDATE policy_version SET version = version"
    } else {
        "BEGIN IMMEDIATE"
    };
    sqlx::raw_sql(lock).execute(&mut sql).await.unwrap();
    sql
}

#[tokio::test]
async fn unknown_session_takes_no_write_turn() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let (member, _) = member_without_roles(&tenant, "member@example.com").await;
    let password = server
        .control
        .passwords
        .set_new_password(&OPERATOR, &member)
        .await
        .unwrap();
    let body = json!({"email": member.email, "password": *password}).to_string();
    let headers = [("Content-Type", "application/json")];
    let opened = server
        .send("POST", "/api/v1/session", &headers, body.as_bytes())
        .await;
    let cookies = opened.all("set-cookie");
    let cookie = cookies.iter().find(|set| set.starts_with("__Host-portcullis="));
    let cookie = cookie.unwrap().split(';').next().unwrap();
    let locked = lock_writers(&dir).await;
    let headers = [("Cookie", cookie), ("Sec-Fetch-Site", "same-origin")];
    let answer = server
        .send("DELETE", "/api/v1/sessions/ses_of_nobody", &headers, b"")
        .await;
    assert_eq!(answer.status, 404, "{answer:?}");
    drop(locked);
}

#[tokio::test]
async fn change_does_not_wait_for_other_members_backlog() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (busy, quiet) = (server.workspace().await, server.workspace().await);
    let control = &server.control;
    let actor = async |tenant: &Tenant<'_>| {
        let member = control.api_tokens.authenticate(&tenant.api_token).await.unwrap();
        Actor::member(member, None)
    };
    let (flooder, owner) = (actor(&busy).await, actor(&quiet).await);
    let make = |who: &'static str, actor: &Actor, tenant: &Tenant<'_>| -> BoxFuture<'_, &'static str> {
        let (actor, workspace) = (actor.clone(), tenant.id.clone());
        async move {
            let made = control
                .api_tokens
                .create_own_api_token(&actor, &workspace, "x", None)
                .await;
            made.unwrap();
            who
        }
        .boxed()
    };

    let locked = lock_writers(&dir).await;
    let mut waiting: Vec<_> = (0..40).map(|_| make("flooder", &flooder, &busy)).collect();
    waiting.push(make("owner", &owner, &quiet));
    // All of them stand in the queue after this, in this order.
    for change in &mut waiting {
        assert!(futures::poll!(change).is_pending());
    }
    drop(locked);
    let mut done: FuturesUnordered<_> = waiting.into_iter().collect();
    let mut before = 0;
    let served = async {
        while done.next().await.unwrap() != "owner" {
            before += 1;
        }
    };
    tokio::time::timeout(DEADLINE, served).await.unwrap();
    assert!(
        before <= 3,
        "the owner's change waited for {before} of another workspace"
    );
}
