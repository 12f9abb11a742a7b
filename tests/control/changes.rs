//! How much one person may change, and that nobody's changes wait for all that somebody else asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use portcullis::config::{ControlLimits, Rate};
use portcullis::control::{Actor, NewGrant};
use portcullis::domain::time::UnixSeconds;
use portcullis::model::member::Member;
use serde_json::json;
use tokio::time::Instant;

use super::support::{Answer, DEADLINE, NOW, OPERATOR, TempDir, Tenant, TestControl, on_postgres, send_to};

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

/// Makes an API token and deletes it: two changes. Answers the first refusal.
async fn two_changes(tenant: &Tenant<'_>, token: &str) -> Result<(), Answer> {
    let made = tenant
        .call_as(token, "POST", "/api-tokens", Some(json!({"name": "x"})))
        .await;
    if made.status != 201 {
        return Err(made);
    }
    let path = format!("/api-tokens/{}", made.json()["id"].as_str().unwrap());
    let deleted = tenant.call_as(token, "DELETE", &path, None).await;
    if deleted.status == 204 {
        Ok(())
    } else {
        Err(deleted)
    }
}

#[tokio::test]
async fn member_without_roles_changes_little() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let (_, member) = member_without_roles(&tenant, "member@example.com").await;
    let (_, other) = member_without_roles(&tenant, "other@example.com").await;
    let mut made = 0;
    let refused = loop {
        match two_changes(&tenant, &member).await {
            Ok(()) => made += 1,
            Err(refused) => break refused,
        }
        assert!(made <= 30, "nothing holds a member without roles back");
    };
    assert_eq!(made, 30);
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
        tenant.call_as(&member, "GET", "/api-tokens", None).await.status,
        200
    );
    two_changes(&tenant, &other).await.unwrap();
    for _ in 0..100 {
        two_changes(&tenant, &tenant.api_token).await.unwrap();
    }
    server.clock.set(UnixSeconds(NOW + 2));
    two_changes(&tenant, &member).await.unwrap();
}

#[tokio::test]
async fn members_without_roles_share_a_limit() {
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
        let (_, token) = member_without_roles(&tenant, &format!("member-{at}@example.com")).await;
        while two_changes(&tenant, &token).await.is_ok() {
            made += 2;
        }
    }
    assert_eq!(made, 8 * 16, "eight times what one of them may");
    two_changes(&tenant, &tenant.api_token).await.unwrap();
}

#[tokio::test]
async fn sessions_that_one_person_opens_are_limited() {
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
async fn session_that_is_not_there_costs_no_turn_to_write() {
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
async fn change_does_not_wait_for_all_that_somebody_else_asks_for() {
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

/// Times of an owner's change, from connecting to the answer: the middle one, and the slowest of a hundred.
async fn owner_changes(tenant: &Tenant<'_>) -> (Duration, Duration) {
    let mut times = Vec::new();
    for at in 0..100 {
        let body = json!({"name": format!("name {at}")});
        let begun = Instant::now();
        let answer = tenant.call("PATCH", "", Some(body)).await;
        times.push(begun.elapsed());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    times.sort_unstable();
    (times[50], times[99])
}

/// What a member without roles costs an owner. Prints figures and judges nothing:
/// `cargo test --release --test control measure_owner -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn measure_owner_changes_during_a_flood() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let (_, member) = member_without_roles(&tenant, "member@example.com").await;
    let (middle, slowest) = owner_changes(&tenant).await;
    println!("quiet: p50 {middle:?}, slowest of 100 {slowest:?}");
    let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let (stop, made) = (Arc::clone(&stop), Arc::clone(&made));
            let (address, clock) = (server.address, server.clock.clone());
            let target = format!("/api/v1/workspaces/{}/api-tokens", tenant.id);
            let bearer = format!("Bearer {member}");
            let begun = Instant::now();
            tokio::spawn(async move {
                let headers = [
                    ("Authorization", bearer.as_str()),
                    ("Content-Type", "application/json"),
                ];
                // All tasks together send 400 requests a second, more than the store can write.
                let mut pace = tokio::time::interval(Duration::from_millis(80));
                while !stop.load(Ordering::Relaxed) {
                    pace.tick().await;
                    clock.set(UnixSeconds(NOW + begun.elapsed().as_secs()));
                    let answer = send_to(address, "POST", &target, &headers, br#"{"name":"x"}"#).await;
                    if answer.status != 201 {
                        continue;
                    }
                    pace.tick().await;
                    let path = format!("{target}/{}", answer.json()["id"].as_str().unwrap());
                    let deleted = send_to(address, "DELETE", &path, &headers, b"").await;
                    made.fetch_add(1 + usize::from(deleted.status == 204), Ordering::Relaxed);
                }
            })
        })
        .collect();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        tokio::task::yield_now().await;
    }
    let (middle, slowest) = owner_changes(&tenant).await;
    let (made, seconds) = (made.load(Ordering::Relaxed), begun.elapsed().as_secs_f64());
    println!(
        "flood: p50 {middle:?}, slowest of 100 {slowest:?}; {made} changes of the member in {seconds:.1} s"
    );
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
}
