//! The management API as a whole: authentication, paging, unreadable requests.

use portcullis::domain::ids::MemberId;
use portcullis::domain::time::UnixSeconds;
use serde_json::json;

use crate::support::{NOW, OPERATOR, TempDir, TestControl};

/// Every management path below a workspace, with a method that it serves.
const PATHS: [(&str, &str); 16] = [
    ("GET", ""),
    ("PATCH", ""),
    ("GET", "/apps"),
    ("POST", "/apps"),
    ("GET", "/apps/app_x"),
    ("PATCH", "/apps/app_x"),
    ("DELETE", "/apps/app_x"),
    ("GET", "/apps/app_x/keys"),
    ("POST", "/apps/app_x/keys"),
    ("DELETE", "/apps/app_x/keys/key_x"),
    ("POST", "/apps/app_x/tokens/revoke"),
    ("GET", "/sources"),
    ("POST", "/sources"),
    ("PUT", "/sources/src_x/app"),
    ("DELETE", "/sources/src_x/app"),
    ("PUT", "/sources/src_x/enforcement"),
];

#[tokio::test]
async fn management_api_requires_a_valid_api_token() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let wrong = format!("pcl_{}", "a".repeat(40));
    for (method, path) in PATHS {
        for token in [
            "",
            "pcl_",
            wrong.as_str(),
            &tenant.api_token[..43],
            &format!("{}a", tenant.api_token),
        ] {
            let answer = tenant.call_as(token, method, path, Some(json!({}))).await;
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (401, "unauthenticated"),
                "{method} {path}"
            );
            assert!(
                answer
                    .header("www-authenticate")
                    .is_some_and(|challenge| challenge.starts_with("Bearer"))
            );
        }
    }
    let target = format!("/api/v1/workspaces/{}", tenant.id);
    let bearer = format!("Bearer {}", tenant.api_token);
    let lower = bearer.replace("Bearer", "bearer");
    let send = async |headers: &[(&str, &str)]| server.send("GET", &target, headers, b"").await.status;
    assert_eq!(send(&[]).await, 401);
    assert_eq!(send(&[("Authorization", &bearer)]).await, 200);
    assert_eq!(send(&[("Authorization", &lower)]).await, 200);
    assert_eq!(
        send(&[("Authorization", &bearer), ("Authorization", &bearer)]).await,
        401,
        "two credentials"
    );
    assert_eq!(
        send(&[("Authorization", &bearer.replace("Bearer ", "Basic "))]).await,
        401
    );
}

#[tokio::test]
async fn api_token_ends_when_it_expires() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let owner = server
        .control
        .members
        .create_owner(&OPERATOR, &tenant.id, "other@example.com")
        .await
        .unwrap();
    let until = Some(UnixSeconds(NOW + 60));
    let token = server
        .control
        .api_tokens
        .create_api_token(&OPERATOR, &owner.id, "short", until)
        .await
        .unwrap();
    assert_eq!(tenant.call_as(token.expose(), "GET", "", None).await.status, 200);
    server.clock.set(UnixSeconds(NOW + 60));
    assert_eq!(tenant.call_as(token.expose(), "GET", "", None).await.status, 401);
    assert_eq!(format!("{token:?}"), "ApiToken(..)");
    let nobody = MemberId::parse("mem_nobody").unwrap();
    let refused = server
        .control
        .api_tokens
        .create_api_token(&OPERATOR, &nobody, "short", None)
        .await
        .err()
        .unwrap();
    assert_eq!(refused.to_string(), "member not found");
}

#[tokio::test]
async fn foreign_workspace_is_not_found() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (tenant, other) = (server.workspace().await, server.workspace().await);
    for (method, path) in PATHS {
        let theirs = other
            .call_as(&tenant.api_token, method, path, Some(json!({})))
            .await;
        assert_eq!(
            (theirs.status, theirs.problem().as_str()),
            (404, "not-found"),
            "{method} {path}"
        );
    }
    // Their things do not exist in a workspace of one's own, either.
    let (app, source) = (other.app().await, other.source("http_api").await);
    for path in [format!("/apps/{}", app.id()), format!("/sources/{}", source.id)] {
        assert_eq!(tenant.call("GET", &path, None).await.problem(), "not-found");
        assert_eq!(other.call("GET", &path, None).await.status, 200);
    }
}

#[tokio::test]
async fn founder_owns_the_new_workspace() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (tenant, mine) = server.workspace_and_session().await;
    let (_, theirs) = server.workspace_and_session().await;
    let call = async |method: &str, target: &str, cookie: &str, body: &str| {
        let headers = [
            ("Cookie", cookie),
            ("Sec-Fetch-Site", "same-origin"),
            ("Content-Type", "application/json"),
        ];
        server.send(method, target, &headers, body.as_bytes()).await
    };
    let made = call("POST", "/api/v1/workspaces", &mine, r#"{"name": "Second"}"#).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let target = format!("/api/v1/workspaces/{id}");
    assert_eq!(call("GET", &target, &mine, "").await.json()["name"], "Second");
    assert_eq!(call("GET", &target, &theirs, "").await.status, 404);
    let renamed = call("PATCH", &target, &mine, r#"{"name": "Third"}"#).await;
    assert_eq!((renamed.status, &renamed.json()["name"]), (200, &json!("Third")));
    let listed = call("GET", "/api/v1/workspaces", &mine, "").await.json();
    let ids: Vec<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].clone())
        .collect();
    assert_eq!(ids, [json!(tenant.id.as_str()), json!(id)]);
    assert_eq!(
        call("GET", "/api/v1/workspaces", &theirs, "").await.json()["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn lists_page_through_every_item_once() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(json!(tenant.source("http_api").await.id.as_str()));
    }
    for limit in [1, 3, 6, 7, 8] {
        let mut found = Vec::new();
        let mut path = format!("/sources?limit={limit}");
        loop {
            let page = tenant.call("GET", &path, None).await.json();
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit && !items.is_empty(), "{page}");
            found.extend(items.iter().map(|item| item["id"].clone()));
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/sources?limit={limit}&after={next}");
        }
        assert_eq!(found, made, "{limit}");
    }
    for query in [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=-1",
        "limit=%2B5",
        "limit=+5",
        "limit=%205",
        "limit=",
        "limit=1&limit=2",
        "page=1",
        "after=%",
    ] {
        assert_eq!(
            tenant.call("GET", &format!("/apps?{query}"), None).await.status,
            422,
            "{query}"
        );
    }
    for moment in ["%2B002030-01-31T12:00:00Z", "2030", "1896134400"] {
        let path = format!("/audit-events?since={moment}");
        assert_eq!(tenant.call("GET", &path, None).await.status, 422, "{moment}");
    }
}

#[tokio::test]
async fn unreadable_requests_get_problem_documents() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let target = format!("/api/v1/workspaces/{}/sources", tenant.id);
    let bearer = format!("Bearer {}", tenant.api_token);
    let post = async |media_type: &str, body: &[u8]| {
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", media_type)];
        let answer = server.send("POST", &target, &headers, body).await;
        (answer.status, answer.problem())
    };
    let json = "application/json";
    assert_eq!(post(json, b"{").await, (400, "malformed-json".to_owned()));
    assert_eq!(post(json, b"").await, (400, "malformed-json".to_owned()));
    assert_eq!(
        post(json, br#"{"name":"a","kind":"python"} x"#).await,
        (400, "malformed-json".to_owned())
    );
    assert_eq!(
        post(json, b"{\"name\":\"\xff\"}").await,
        (400, "malformed-json".to_owned())
    );
    assert_eq!(post(json, b"[]").await.0, 422);
    assert_eq!(
        post(json, br#"{"name":"a","name":"b","kind":"python"}"#).await.0,
        422
    );
    assert_eq!(post("text/plain", b"{}").await, (415, "not-json".to_owned()));
    assert_eq!(
        post(json, &vec![b' '; 64 * 1024 + 1]).await,
        (413, "body-too-large".to_owned())
    );

    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "Application/JSON; charset=utf-8"),
    ];
    let answer = server
        .send("POST", &target, &headers, br#"{"name":"a","kind":"python"}"#)
        .await;
    assert_eq!(answer.status, 201, "{answer:?}");

    let unknown = server.send("GET", "/nothing/here", &[], b"").await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (404, "not-found"));
    let method = server.send("POST", "/.well-known/jwks.json", &[], b"").await;
    assert_eq!(
        (method.status, method.problem().as_str()),
        (405, "method-not-allowed")
    );
}
