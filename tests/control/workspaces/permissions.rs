//! Permissions: every route of the management API, tried with every role.

use portcullis::control::{NewGrant, NewResources};
use portcullis::domain::role::Role;
use portcullis::domain::time::UnixSeconds;
use serde_json::{Value, json};

use crate::support::{Answer, NOW, OPERATOR, TempDir, Tenant, TestControl, TestKey};

/// Whom a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// No credentials are asked for.
    Anybody,
    /// Whoever has a session; an API token is none.
    Sessions,
    /// Any member, of whichever workspace.
    Members,
    /// Members of the workspace in the path with one of the roles marked `y`: owner, member, source admin, source
    /// read-only, function admin, function read-only.
    Roles(&'static str),
    /// The same, in a session: API tokens are rejected for every role.
    InPerson(&'static str),
}

use For::{Anybody, InPerson, Members, Roles, Sessions};

const OWNERS: For = Roles("y-----");
const EVERY_ROLE: For = Roles("yyyyyy");

/// Method, path as the router has it, whom it is for. `{source}` and `{function}` are both `{id}` there.
const ROUTES: [(&str, &str, For); 70] = [
    ("POST", "/token", Anybody),
    ("POST", "//token", Anybody),
    ("POST", "/revoke", Anybody),
    ("POST", "/introspect", Anybody),
    ("POST", "/leaked-tokens/github", Anybody),
    ("GET", "/.well-known/jwks.json", Anybody),
    ("GET", "/.well-known/oauth-authorization-server", Anybody),
    ("GET", "/.well-known/openid-configuration", Anybody),
    ("POST", "/invitations/accept", Anybody),
    ("GET", "/openapi.json", Anybody),
    ("GET", "/login/oidc", Anybody),
    ("GET", "/login/oidc/callback", Anybody),
    ("POST", "/session", Anybody),
    ("GET", "/session", Sessions),
    ("DELETE", "/session", Sessions),
    ("PUT", "/session/password", Sessions),
    ("GET", "/sessions", Sessions),
    ("DELETE", "/sessions", Sessions),
    ("DELETE", "/sessions/{id}", Sessions),
    ("GET", "/workspaces", Members),
    ("POST", "/workspaces", InPerson("y-----")),
    ("GET", "/workspaces/{ws}", EVERY_ROLE),
    ("PATCH", "/workspaces/{ws}", OWNERS),
    ("GET", "/workspaces/{ws}/apps", Roles("y-yyyy")),
    ("POST", "/workspaces/{ws}/apps", OWNERS),
    ("GET", "/workspaces/{ws}/apps/{id}", Roles("y-yyyy")),
    ("PATCH", "/workspaces/{ws}/apps/{id}", Roles("y-y-y-")),
    ("DELETE", "/workspaces/{ws}/apps/{id}", Roles("y-y-y-")),
    ("GET", "/workspaces/{ws}/apps/{id}/keys", Roles("y-yyyy")),
    ("POST", "/workspaces/{ws}/apps/{id}/keys", Roles("y-y-y-")),
    ("DELETE", "/workspaces/{ws}/apps/{id}/keys/{kid}", Roles("y-y-y-")),
    (
        "POST",
        "/workspaces/{ws}/apps/{id}/tokens/revoke",
        Roles("y-y-y-"),
    ),
    (
        "POST",
        "/workspaces/{ws}/apps/{id}/tokens/revoke-all",
        Roles("y-y-y-"),
    ),
    (
        "POST",
        "/workspaces/{ws}/apps/{id}/keys/{kid}/revoke-tokens",
        Roles("y-y-y-"),
    ),
    ("POST", "/workspaces/{ws}/tokens/revoke-all", OWNERS),
    ("GET", "/workspaces/{ws}/leaked-tokens", OWNERS),
    ("DELETE", "/workspaces/{ws}/leaked-tokens/{id}", OWNERS),
    ("GET", "/workspaces/{ws}/sources", EVERY_ROLE),
    ("POST", "/workspaces/{ws}/sources", OWNERS),
    ("GET", "/workspaces/{ws}/sources/{source}", Roles("y-yy--")),
    ("GET", "/workspaces/{ws}/sources/{function}", Roles("y---yy")),
    ("PATCH", "/workspaces/{ws}/sources/{source}", OWNERS),
    ("PATCH", "/workspaces/{ws}/sources/{function}", OWNERS),
    ("DELETE", "/workspaces/{ws}/sources/{source}", OWNERS),
    ("PUT", "/workspaces/{ws}/sources/{source}/app", Roles("y-y---")),
    ("PUT", "/workspaces/{ws}/sources/{function}/app", Roles("y---y-")),
    ("DELETE", "/workspaces/{ws}/sources/{source}/app", Roles("y-y---")),
    (
        "DELETE",
        "/workspaces/{ws}/sources/{function}/app",
        Roles("y---y-"),
    ),
    (
        "GET",
        "/workspaces/{ws}/sources/{source}/traffic",
        Roles("y-yy--"),
    ),
    (
        "GET",
        "/workspaces/{ws}/sources/{function}/traffic",
        Roles("y---yy"),
    ),
    (
        "POST",
        "/workspaces/{ws}/sources/{source}/traffic/restart",
        Roles("y-y---"),
    ),
    (
        "POST",
        "/workspaces/{ws}/sources/{function}/traffic/restart",
        Roles("y---y-"),
    ),
    (
        "PUT",
        "/workspaces/{ws}/sources/{source}/enforcement",
        Roles("y-y---"),
    ),
    (
        "PUT",
        "/workspaces/{ws}/sources/{function}/enforcement",
        Roles("y---y-"),
    ),
    ("GET", "/workspaces/{ws}/members", OWNERS),
    ("POST", "/workspaces/{ws}/members", OWNERS),
    ("GET", "/workspaces/{ws}/members/{member}", OWNERS),
    ("PATCH", "/workspaces/{ws}/members/{member}", OWNERS),
    ("DELETE", "/workspaces/{ws}/members/{member}", OWNERS),
    ("GET", "/workspaces/{ws}/members/{member}/api-tokens", OWNERS),
    ("GET", "/workspaces/{ws}/api-tokens", EVERY_ROLE),
    ("POST", "/workspaces/{ws}/api-tokens", InPerson("yyyyyy")),
    ("GET", "/workspaces/{ws}/audit-events", OWNERS),
    ("GET", "/workspaces/{ws}/audit-events/export", OWNERS),
    // A token of another member is not found, except for owners.
    ("GET", "/workspaces/{ws}/api-tokens/{id}", EVERY_ROLE),
    // Of owners of every workspace.
    ("GET", "/edges", OWNERS),
    ("POST", "/edges/join-tokens", OWNERS),
    ("PATCH", "/edges/{id}", OWNERS),
    ("DELETE", "/edges/{id}", OWNERS),
    ("GET", "/policy/versions/{version}", Members),
];

/// Routes whose rows would say nothing new: `DELETE` of one's own API token is for every member.
const LIKE_OTHERS: [(&str, &str); 1] = [("DELETE", "/workspaces/{ws}/api-tokens/{id}")];

/// What the paths of a workspace name.
struct Things {
    workspace: String,
    app: String,
    key: String,
    source: String,
    function: String,
    member: String,
}

impl Things {
    async fn of(tenant: &Tenant<'_>) -> Self {
        let app = tenant
            .app_with(&TestKey::p256(), &["tracking_api:write", "functions:write"])
            .await;
        let (source, function) = (
            tenant.source("python").await,
            tenant.source("source_function").await,
        );
        let control = &tenant.server.control;
        for id in [&source.id, &function.id] {
            control
                .sources
                .connect(&OPERATOR, &tenant.id, id, &app.details.app.id)
                .await
                .unwrap();
        }
        let email = format!("member-of-{}@example.com", tenant.id);
        let member = control
            .members
            .create_owner(&OPERATOR, &tenant.id, &email)
            .await
            .unwrap();
        Self {
            workspace: tenant.id.to_string(),
            app: app.id().to_owned(),
            key: app.key_id.clone(),
            source: source.id.to_string(),
            function: function.id.to_string(),
            member: member.id.to_string(),
        }
    }

    /// The target of a route, and a body that it could act on.
    fn request(&self, method: &str, path: &str) -> (String, Value) {
        let id = if path.contains("/api-tokens") {
            "tok_of_nobody"
        } else {
            &self.app
        };
        let target = path
            .replace("{ws}", &self.workspace)
            .replace("{id}", id)
            .replace("{kid}", &self.key)
            .replace("{version}", "1")
            .replace("{source}", &self.source)
            .replace("{function}", &self.function)
            .replace("{member}", &self.member);
        let target = match path {
            _ if path.ends_with("/export") => format!("/api/v1{target}?format=csv"),
            _ if ["/workspaces", "/invitations", "/session", "/edges", "/policy"]
                .iter()
                .any(|begin| path.starts_with(begin)) =>
            {
                format!("/api/v1{target}")
            }
            _ => target,
        };
        let name = json!({"name": "changed"});
        let body = match (method, path.rsplit('/').next().unwrap()) {
            ("GET", _) => Value::Null,
            ("DELETE", "{id}") => json!({"confirm_name": "sender"}),
            ("DELETE", _) => Value::Null,
            ("PUT", "app") => json!({"app_id": self.app}),
            ("PUT", "enforcement") => json!({"mode": "on"}),
            ("POST", "apps") => json!({
                "name": "another", "scopes": ["tracking_api:write"],
                "public_key": {"name": "first", "pem": TestKey::p256().public_pem},
            }),
            ("POST", "keys") => json!({"name": "second", "pem": TestKey::p256().public_pem}),
            ("POST", "revoke") => json!({"token": "a.b.c"}),
            ("POST", "revoke-all" | "revoke-tokens") => json!({}),
            ("POST", "sources") => json!({"name": "another", "kind": "python"}),
            ("POST", "members") => {
                json!({"email": "another@example.com", "roles": [{"role": "workspace_member"}]})
            }
            ("PATCH", "{member}") => json!({"roles": [{"role": "workspace_member"}]}),
            ("POST", "accept") => json!({"secret": "pci_x", "password": "x"}),
            _ => name,
        };
        (target, body)
    }
}

async fn send(server: &TestControl, token: &str, method: &str, target: &str, body: &Value) -> Answer {
    let authorization = format!("Bearer {token}");
    let mut headers = vec![("Content-Type", "application/json"), ("If-Match", "\"0\"")];
    if !token.is_empty() {
        headers.push(("Authorization", authorization.as_str()));
    }
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    server.send(method, target, &headers, body.as_bytes()).await
}

/// A member with one role, for all that it reaches, and a token that speaks for them.
async fn token_of(tenant: &Tenant<'_>, role: Role) -> String {
    let grant = NewGrant {
        role: role.as_str().to_owned(),
        resources: role
            .is_for_sources()
            .then(|| NewResources::Word("all".to_owned())),
    };
    let control = &tenant.server.control;
    let email = format!("{}@example.com", role.as_str());
    let member = control
        .members
        .create_member(&OPERATOR, &tenant.id, &email, &[grant])
        .await
        .unwrap();
    let token = control
        .api_tokens
        .create_api_token(&OPERATOR, &member.id, "tests", None)
        .await
        .unwrap();
    token.expose().to_owned()
}

async fn version(server: &TestControl) -> u64 {
    server.control.fleet.snapshot().await.unwrap().version
}

#[tokio::test]
async fn each_route_admits_its_roles_only() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let things = Things::of(&tenant).await;
    let mut tokens = Vec::new();
    for role in Role::ALL {
        tokens.push((role, token_of(&tenant, role).await));
    }
    let before = version(&server).await;
    let may = |roles: &str, role: Role| {
        let at = Role::ALL.iter().position(|held| *held == role).unwrap();
        roles.as_bytes()[at] == b'y'
    };
    for (method, path, whom) in ROUTES {
        let (Roles(roles) | InPerson(roles)) = whom else {
            continue;
        };
        let (target, body) = things.request(method, path);
        for (role, token) in tokens.iter().filter(|(role, _)| !may(roles, *role)) {
            let answer = send(&server, token, method, &target, &body).await;
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (403, "forbidden"),
                "{role:?} {method} {path}"
            );
            assert!(
                answer.json()["detail"]
                    .as_str()
                    .unwrap()
                    .contains("ask a workspace owner")
            );
        }
    }
    for (method, path, whom) in ROUTES {
        let InPerson(roles) = whom else { continue };
        let (target, body) = things.request(method, path);
        for (role, token) in tokens.iter().filter(|(role, _)| may(roles, *role)) {
            let answer = send(&server, token, method, &target, &body).await;
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (403, "session-required"),
                "{role:?} {method} {path}"
            );
        }
    }
    assert_eq!(
        version(&server).await,
        before,
        "a refused request changed something"
    );
    // Whoever may gets past the question: further on it is too old a revision, or a token that is none. A moment
    // passes each time: all tokens of something are not revoked again and again in one second.
    let mut now = NOW;
    for (method, path, whom) in ROUTES {
        let Roles(roles) = whom else { continue };
        let (target, body) = things.request(method, path);
        for (role, token) in tokens.iter().filter(|(role, _)| may(roles, *role)) {
            now += 1;
            server.clock.set(UnixSeconds(now));
            let status = send(&server, token, method, &target, &body).await.status;
            let unknown_token = path.ends_with("-tokens/{id}") && status == 404;
            let unknown_edge = path.starts_with("/edges/{id}") && status == 404;
            let fine = [200, 201, 409, 412, 422].contains(&status) || unknown_token || unknown_edge;
            assert!(fine, "{role:?} {method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn every_route_rejects_missing_and_expired_credentials() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let things = Things::of(&tenant).await;
    let before = version(&server).await;
    let wrong = format!("pcl_{}", "a".repeat(40));
    for (method, path, whom) in ROUTES {
        if whom == Anybody {
            continue;
        }
        let (target, body) = things.request(method, path);
        let mut tokens = vec!["", wrong.as_str(), &tenant.api_token[..43]];
        if whom == Sessions {
            tokens.push(&tenant.api_token);
        }
        for token in tokens {
            let answer = send(&server, token, method, &target, &body).await;
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (401, "unauthenticated"),
                "{method} {path}"
            );
        }
    }
    assert_eq!(version(&server).await, before);
}

#[tokio::test]
async fn foreign_workspace_looks_like_an_unknown_one() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let (tenant, other) = (server.workspace().await, server.workspace().await);
    let things = Things::of(&other).await;
    let before = version(&server).await;
    for (method, path, _) in ROUTES.iter().filter(|(_, path, _)| path.contains("{ws}")) {
        let (target, body) = things.request(method, path);
        let theirs = send(&server, &tenant.api_token, method, &target, &body).await;
        let nowhere = target.replace(&things.workspace, "ws_nowhere");
        let nowhere = send(&server, &tenant.api_token, method, &nowhere, &body).await;
        assert_eq!(theirs.status, 404, "{method} {path}");
        assert_eq!(theirs.json(), nowhere.json(), "{method} {path}");
        // Their things do not exist in one's own workspace, either.
        if path.contains('{') && path.matches('{').count() > 1 {
            let mine = target.replace(&things.workspace, tenant.id.as_str());
            let answer = send(&server, &tenant.api_token, method, &mine, &body).await;
            assert_eq!(answer.status, 404, "{method} {path}");
        }
    }
    assert_eq!(version(&server).await, before);
}

/// Every route, as method and path: those of the management API by its own document, which is made from the router's
/// table; the few beside it by the text of the router.
async fn routes_served(server: &TestControl) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let document = server.send("GET", "/api/v1/openapi.json", &[], b"").await.json();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path.strip_prefix("/api/v1").unwrap();
        let methods = operations.as_object().unwrap().keys();
        found.extend(methods.map(|method| (method.to_uppercase(), path.to_owned())));
    }
    let text = include_str!("../../../src/control/http/routes.rs");
    for route in text.split(".route(").skip(1) {
        let route: String = route.chars().filter(|c| !c.is_whitespace()).collect();
        // The token endpoint's two paths are named by a constant.
        let paths = match route.strip_prefix('"') {
            Some(route) => vec![route.split('"').next().unwrap()],
            // The metadata once more, where the issuer has a path.
            None if route.starts_with("&format!") => Vec::new(),
            None => vec!["/token", "//token"],
        };
        let method = if route.split(',').nth(1).unwrap().contains("get(") {
            "GET"
        } else {
            "POST"
        };
        found.extend(paths.iter().map(|path| (method.to_owned(), (*path).to_owned())));
    }
    found
}

#[tokio::test]
async fn every_route_has_a_row() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let plain = |path: &str| {
        path.replace("{source}", "{id}")
            .replace("{function}", "{id}")
            .replace("{member}", "{id}")
    };
    let found = routes_served(&server).await;
    assert!(found.len() >= 35, "{found:?}");
    for (method, path) in found {
        let has_row = ROUTES
            .iter()
            .map(|(method, path, _)| (*method, *path))
            .chain(LIKE_OTHERS)
            .any(|(held, row)| held == method && plain(row) == path);
        assert!(has_row, "say in {} who may {method} {path}", file!());
    }
}
