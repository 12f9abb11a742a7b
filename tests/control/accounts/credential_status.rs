//! The credential of a slow request is checked again when its change is made.

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::model::member::Member;
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio::net::TcpStream;

use crate::support::{Answer, DEADLINE, HalfSent, NOW, OPERATOR, TempDir, Tenant, TestControl};

/// Another owner of the workspace, with an API token and a session.
struct Other {
    member: Member,
    token: String,
    token_id: String,
    cookie: String,
}

impl Other {
    async fn of(tenant: &Tenant<'_>, email: &str) -> Self {
        let control = &tenant.server.control;
        let member = control
            .members
            .create_owner(&OPERATOR, &tenant.id, email)
            .await
            .unwrap();
        let password = control
            .passwords
            .set_new_password(&OPERATOR, &member)
            .await
            .unwrap();
        let token = control
            .api_tokens
            .create_api_token(&OPERATOR, &member.id, "tests", None);
        let token = token.await.unwrap();
        let body = json!({"email": email, "password": password.as_str()}).to_string();
        let headers = [("Content-Type", "application/json")];
        let opened = tenant
            .server
            .send("POST", "/api/v1/session", &headers, body.as_bytes())
            .await;
        let cookies = opened.all("set-cookie");
        let session = cookies.iter().find(|set| set.starts_with("__Host-portcullis="));
        Self {
            member,
            token_id: token.details.id.clone(),
            token: token.expose().to_owned(),
            cookie: session.unwrap().split(';').next().unwrap().to_owned(),
        }
    }

    fn headers(&self, by_session: bool) -> Vec<(String, String)> {
        let credential = if by_session {
            vec![
                ("Cookie".to_owned(), self.cookie.clone()),
                ("Sec-Fetch-Site".to_owned(), "same-origin".to_owned()),
            ]
        } else {
            vec![("Authorization".to_owned(), format!("Bearer {}", self.token))]
        };
        let kind = ("Content-Type".to_owned(), "application/json".to_owned());
        credential.into_iter().chain([kind]).collect()
    }

    /// Begins a request and sends half of its body.
    async fn begin(&self, tenant: &Tenant<'_>, by_session: bool, path: &str, body: &Value) -> HalfSent {
        let target = format!("/api/v1/workspaces/{}{path}", tenant.id);
        let headers = self.headers(by_session);
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        HalfSent::begin(
            tenant.server.address,
            "POST",
            &target,
            &headers,
            &body.to_string(),
        )
        .await
    }

    async fn sign_out(&self, server: &TestControl) -> Answer {
        let headers = self.headers(true);
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        server.send("DELETE", "/api/v1/session", &headers, b"").await
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Meanwhile {
    Nothing,
    Removed,
    Demoted,
    CredentialEnded,
}

#[tokio::test]
async fn slow_request_with_a_revoked_credential_changes_nothing() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let mut at = 0;
    for by_session in [false, true] {
        for (meanwhile, expected) in [
            (Meanwhile::Nothing, [201, 201]),
            (Meanwhile::Removed, [401, 401]),
            (Meanwhile::Demoted, [403, 403]),
            (Meanwhile::CredentialEnded, [401, 401]),
        ] {
            at += 1;
            let other = Other::of(&tenant, &format!("other{at}@example.com")).await;
            let accomplice = format!("accomplice{at}@example.com");
            let invitation = json!({"email": accomplice, "roles": [{"role": "workspace_owner"}]});
            let invitation = other.begin(&tenant, by_session, "/members", &invitation).await;
            let kept = json!({"name": "for later"});
            let kept = other.begin(&tenant, by_session, "/api-tokens", &kept).await;
            let path = format!("/members/{}", other.member.id);
            let ended = match meanwhile {
                Meanwhile::Nothing => 200,
                Meanwhile::Removed => tenant.call("DELETE", &path, None).await.status,
                Meanwhile::Demoted => {
                    let roles = json!({"roles": [{"role": "workspace_member"}]});
                    tenant.call("PATCH", &path, Some(roles)).await.status
                }
                Meanwhile::CredentialEnded if by_session => other.sign_out(&server).await.status,
                Meanwhile::CredentialEnded => {
                    let path = format!("/api-tokens/{}", other.token_id);
                    tenant.call_as(&other.token, "DELETE", &path, None).await.status
                }
            };
            assert!(ended < 300, "{meanwhile:?} {ended}");
            let (invited, made) = (invitation.finish().await, kept.finish().await);
            // An API token cannot create an API token.
            let expected = if by_session { expected } else { [expected[0], 403] };
            assert_eq!(
                [invited.status, made.status],
                expected,
                "{by_session} {meanwhile:?}"
            );
            if meanwhile == Meanwhile::Demoted {
                assert_eq!(invited.problem(), "roles-changed");
            }
            let members = tenant.call("GET", "/members?limit=200", None).await.text();
            assert_eq!(
                members.contains(&accomplice),
                invited.status == 201,
                "{by_session} {meanwhile:?}"
            );
        }
    }
}

#[tokio::test]
async fn change_that_revokes_its_own_credential_succeeds() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let [one, two] = [
        Other::of(&tenant, "one@example.com").await,
        Other::of(&tenant, "two@example.com").await,
    ];
    let own = format!("/members/{}", one.member.id);
    let roles = json!({"roles": [{"role": "workspace_member"}]});
    let demoted = tenant.call_as(&one.token, "PATCH", &own, Some(roles)).await;
    assert_eq!(demoted.status, 200, "{demoted:?}");
    let path = format!("/api-tokens/{}", one.token_id);
    assert_eq!(
        tenant.call_as(&one.token, "DELETE", &path, None).await.status,
        204
    );
    let own = format!("/members/{}", two.member.id);
    assert_eq!(tenant.call_as(&two.token, "DELETE", &own, None).await.status, 204);
    assert_eq!(tenant.call_as(&two.token, "GET", "", None).await.status, 401);
}

/// Events of a workspace that nobody made.
async fn events(dir: &TempDir, workspace: &str, count: usize) {
    let rows: Vec<String> = (0..count)
        .map(|at| {
            format!(
                "({}, 'evt_x{at}', '{workspace}', {NOW}, 'app.created', 'system', 'tests', 'tests', 'app', 'app_{at}', \
                 '{}', '{}')",
                1_000_000 + at,
                "n".repeat(200),
                "A".repeat(43)
            )
        })
        .collect();
    let text = format!(
        "INSERT INTO audit_events (position, id, workspace, at, action, actor_type, actor_id, actor_name, resource_type, \
         resource_id, resource_name, hash) VALUES {}",
        rows.join(", ")
    );
    let mut sql = dir.sql().await;
    sqlx::query(sqlx::AssertSqlSafe(text))
        .execute(&mut sql)
        .await
        .unwrap();
    sql.close().await.unwrap();
}

#[tokio::test]
async fn export_stops_when_its_reader_is_removed() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    events(&dir, tenant.id.as_str(), 1_600).await;
    for removed in [false, true] {
        let other = Other::of(&tenant, &format!("{removed}@example.com")).await;
        let stream = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
        // The window is smaller than a page: no further one is read before this one was taken.
        let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(65_535)
            .initial_connection_window_size(65_535)
            .handshake(stream)
            .await
            .unwrap();
        tokio::spawn(connection);
        let uri = format!(
            "http://control.test/api/v1/workspaces/{}/audit-events/export?format=csv&action=app.created",
            tenant.id
        );
        let request = http::Request::get(uri)
            .header("authorization", format!("Bearer {}", other.token))
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut body = answer.into_body();
        let mut text = body.frame().await.unwrap().unwrap().into_data().unwrap().to_vec();
        if removed {
            let path = format!("/members/{}", other.member.id);
            assert_eq!(tenant.call("DELETE", &path, None).await.status, 204);
        }
        let rest = async {
            loop {
                match body.frame().await {
                    None => return true,
                    Some(Ok(frame)) => text.extend(frame.into_data().unwrap_or_default()),
                    Some(Err(_)) => return false,
                }
            }
        };
        let whole = tokio::time::timeout(DEADLINE, rest).await.unwrap();
        let rows = String::from_utf8(text).unwrap().matches("app.created").count();
        assert_eq!((whole, rows == 1_600), (!removed, !removed), "{rows}");
    }
}
