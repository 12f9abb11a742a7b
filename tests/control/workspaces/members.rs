//! Members: invitations, roles and removal, and their API tokens.

use portcullis::domain::time::UnixSeconds;
use serde_json::{Value, json};

use crate::support::{Answer, NOW, OPERATOR, TempDir, Tenant, TestControl, session_cookie};

const PASSWORD: &str = "a long enough password";

pub async fn invite(tenant: &Tenant<'_>, email: &str, roles: Value) -> Answer {
    let body = json!({"email": email, "roles": roles});
    tenant.call("POST", "/members", Some(body)).await
}

async fn accept(server: &TestControl, secret: &str, password: &str) -> Answer {
    let body = json!({"secret": secret, "password": password}).to_string();
    let headers = [("Content-Type", "application/json")];
    server
        .send("POST", "/api/v1/invitations/accept", &headers, body.as_bytes())
        .await
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn invited_person_joins_with_the_secret_only() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let source = tenant.source("python").await;
    let roles = json!([{"role": "source_admin", "resources": [source.id.as_str()]}]);
    let invited = invite(&tenant, " New@Example.com ", roles.clone()).await;
    assert_eq!(invited.status, 201, "{invited:?}");
    let invited = invited.json();
    assert_eq!(
        (&invited["email"], &invited["status"]),
        (&json!("new@example.com"), &json!("invited"))
    );
    assert_eq!(invited["roles"], roles);
    let secret = text(&invited["invitation"]["secret"]);

    for wrong in ["", "pci_", &secret[..43], &format!("{secret}a")] {
        let refused = accept(&server, wrong, PASSWORD).await;
        assert_eq!(
            (refused.status, refused.json()["field"].clone()),
            (422, json!("secret"))
        );
    }
    let weak = accept(&server, &secret, "short").await;
    assert_eq!(
        (weak.status, weak.json()["field"].clone()),
        (422, json!("password"))
    );
    let joined = accept(&server, &secret, PASSWORD).await;
    assert_eq!(
        (joined.status, joined.json()["status"].clone()),
        (200, json!("joined"))
    );
    assert_eq!(
        accept(&server, &secret, PASSWORD).await.status,
        422,
        "it was used up"
    );

    // Shown once, and kept nowhere.
    let path = format!("/members/{}", text(&invited["id"]));
    let shown = tenant.call("GET", &path, None).await;
    assert!(!shown.text().contains(&secret));
    let mut connection = dir.sql().await;
    let kept: Vec<(String,)> = sqlx::query_as(
        "SELECT COALESCE(changed_to, '') FROM audit_events UNION ALL SELECT hash FROM invitations \
         UNION ALL SELECT body FROM policy_changes",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert!(kept.iter().all(|(text,)| !text.contains(&secret)));
}

#[tokio::test]
async fn invitation_sets_a_password_for_its_own_workspace_and_expires() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (tenant, other) = (server.workspace().await, server.workspace().await);
    let member = json!([{"role": "workspace_member"}]);
    let opens = async |password: &str| {
        let body = json!({"email": "both@example.com", "password": password}).to_string();
        let headers = [("Content-Type", "application/json")];
        let opened = server
            .send("POST", "/api/v1/session", &headers, body.as_bytes())
            .await;
        let cookie = session_cookie(&opened);
        let listed = server
            .send("GET", "/api/v1/workspaces", &[("Cookie", &cookie)], b"")
            .await;
        let items = listed.json()["items"].clone();
        let ids = items.as_array().unwrap().iter().map(|item| text(&item["id"]));
        ids.collect::<Vec<_>>()
    };
    for (tenant, password) in [(&tenant, PASSWORD), (&other, "another long password")] {
        let invited = invite(tenant, "both@example.com", member.clone()).await.json();
        let secret = text(&invited["invitation"]["secret"]);
        assert_eq!(accept(&server, &secret, password).await.status, 200);
        assert_eq!(opens(password).await, [tenant.id.to_string()]);
    }
    assert_eq!(opens(PASSWORD).await, [tenant.id.to_string()]);

    let late = invite(&tenant, "late@example.com", member.clone()).await.json();
    server.clock.set(UnixSeconds(NOW + 7 * 86_400));
    let refused = accept(&server, &text(&late["invitation"]["secret"]), PASSWORD).await;
    assert_eq!(
        (refused.status, refused.json()["field"].clone()),
        (422, json!("secret"))
    );
    let again = invite(&tenant, "late@example.com", member).await;
    assert_eq!(again.problem(), "member-exists");
}

#[tokio::test]
async fn wrong_invitation_secrets_are_limited_by_address() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let mut wrong = 0;
    let stopped = loop {
        let refused = accept(&server, "pci_of_nobody", PASSWORD).await;
        if refused.status == 429 {
            break refused;
        }
        assert_eq!(refused.status, 422, "{refused:?}");
        wrong += 1;
        assert!(wrong < 1_000, "nobody stops this");
    };
    assert!(stopped.header("retry-after").is_some(), "{stopped:?}");
}

#[tokio::test]
async fn withdrawn_invitation_keeps_other_memberships() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (tenant, other) = (server.workspace().await, server.workspace().await);
    let member = json!([{"role": "workspace_member"}]);
    let first = invite(&tenant, "both@example.com", member.clone()).await.json();
    accept(&server, &text(&first["invitation"]["secret"]), PASSWORD).await;
    let body = json!({"email": "both@example.com", "password": PASSWORD}).to_string();
    let headers = [("Content-Type", "application/json")];
    let signed_in = server
        .send("POST", "/api/v1/session", &headers, body.as_bytes())
        .await;
    let cookie = signed_in
        .all("set-cookie")
        .iter()
        .map(|set| set.split(';').next().unwrap())
        .collect::<Vec<_>>()
        .join("; ");
    let session = async || {
        let headers = [("Cookie", cookie.as_str())];
        let answer = server.send("GET", "/api/v1/session", &headers, b"").await;
        answer.status
    };
    assert_eq!(session().await, 200);
    let invited = invite(&other, "both@example.com", member).await.json();
    let path = format!("/members/{}", text(&invited["id"]));
    assert_eq!(other.call("DELETE", &path, None).await.status, 204);
    assert_eq!(session().await, 200);
    // Removed from the only workspace that they are in, there is nothing left to be signed in to.
    let path = format!("/members/{}", text(&first["id"]));
    assert_eq!(tenant.call("DELETE", &path, None).await.status, 204);
    assert_eq!(session().await, 401);
}

#[tokio::test]
async fn workspace_is_never_left_without_an_owner() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let listed = tenant.call("GET", "/members", None).await.json();
    let own = format!("/members/{}", text(&listed["items"][0]["id"]));
    let demoted = json!({"roles": [{"role": "workspace_member"}]});
    // Somebody who is only invited owns nothing yet.
    invite(&tenant, "later@example.com", json!([{"role": "workspace_owner"}])).await;
    for (method, body) in [("PATCH", Some(demoted.clone())), ("DELETE", None)] {
        let refused = tenant.call(method, &own, body).await;
        assert_eq!((refused.status, refused.problem().as_str()), (409, "last-owner"));
    }
    server
        .control
        .members
        .create_owner(&OPERATOR, &tenant.id, "second@example.com")
        .await
        .unwrap();
    assert_eq!(tenant.call("PATCH", &own, Some(demoted)).await.status, 200);
    assert_eq!(
        tenant.call("GET", "/members", None).await.status,
        403,
        "an owner no more"
    );
    assert_eq!(
        tenant.call("GET", &own, None).await.status,
        200,
        "oneself one may see"
    );
}

#[tokio::test]
async fn removed_member_loses_access_at_once() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let control = &server.control;
    let member = control
        .members
        .create_owner(&OPERATOR, &tenant.id, "gone@example.com")
        .await
        .unwrap();
    let token = control
        .api_tokens
        .create_api_token(&OPERATOR, &member.id, "tests", None)
        .await
        .unwrap();
    assert_eq!(tenant.call_as(token.expose(), "GET", "", None).await.status, 200);
    let path = format!("/members/{}", member.id);
    assert_eq!(tenant.call("DELETE", &path, None).await.status, 204);
    assert_eq!(tenant.call_as(token.expose(), "GET", "", None).await.status, 401);
    assert_eq!(tenant.call("DELETE", &path, None).await.status, 404);
}

#[tokio::test]
async fn invalid_email_address_is_rejected() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    for email in [
        "",
        "nobody",
        "@example.com",
        "a@",
        "a b@example.com",
        "a\u{202e}b@example.com",
    ] {
        let refused = invite(&tenant, email, json!([{"role": "workspace_member"}])).await;
        assert_eq!(
            (refused.status, refused.json()["field"].clone()),
            (422, json!("email")),
            "{email:?}"
        );
    }
}

#[tokio::test]
async fn api_tokens_are_private_to_members_and_owners() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (tenant, cookie) = server.workspace_and_session().await;
    let make = async |body: Value| {
        tenant
            .call_in_session(&cookie, "POST", "/api-tokens", Some(body))
            .await
    };
    let made = make(json!({"name": "terraform"})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let (id, token) = (text(&made["id"]), text(&made["token"]));
    assert!(token.starts_with("pcl_") && token.len() == 44);
    assert_eq!(made["expires_at"], json!("2027-02-20T05:00:00Z"), "after 90 days");
    assert_eq!(tenant.call_as(&token, "GET", "", None).await.status, 200);
    server.control.usage.flush_uses().await;
    let path = format!("/api-tokens/{id}");
    let shown = tenant.call("GET", &path, None).await;
    assert!(!shown.text().contains(&token));
    assert_eq!(shown.json()["last_used_at"], json!("2026-11-22T05:00:00Z"));
    assert_eq!(
        tenant.call("GET", "/api-tokens", None).await.json()["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    let other = server
        .control
        .members
        .create_owner(&OPERATOR, &tenant.id, "second@example.com")
        .await
        .unwrap();
    let of_other = format!("/members/{}", other.id);
    let roles = json!({"roles": [{"role": "source_admin", "resources": "all"}]});
    assert_eq!(tenant.call("PATCH", &of_other, Some(roles)).await.status, 200);
    let other = server
        .control
        .api_tokens
        .create_api_token(&OPERATOR, &other.id, "tests", None)
        .await
        .unwrap();
    for method in ["GET", "DELETE"] {
        let answer = tenant.call_as(other.expose(), method, &path, None).await;
        assert_eq!(answer.status, 404, "another member's token");
    }
    // Owners list and revoke the tokens of every member.
    let listed = tenant.call("GET", &format!("{of_other}/api-tokens"), None).await;
    assert_eq!(listed.json()["items"][0]["id"], json!(other.details.id));
    assert!(!listed.text().contains(other.expose()));
    let of_other = format!("/api-tokens/{}", other.details.id);
    assert_eq!(tenant.call("DELETE", &of_other, None).await.status, 204);
    assert_eq!(tenant.call_as(other.expose(), "GET", "", None).await.status, 401);
    assert_eq!(tenant.call("DELETE", &path, None).await.status, 204);
    assert_eq!(tenant.call_as(&token, "GET", "", None).await.status, 401);

    for at in ["2026-11-22T05:00:00Z", "2027-11-24T05:00:00Z", "tomorrow"] {
        let body = json!({"name": "x", "expires_at": at});
        let refused = make(body).await;
        assert_eq!(
            (refused.status, refused.json()["field"].clone()),
            (422, json!("expires_at")),
            "{at}"
        );
    }
}
