//! Sign-on at an OpenID provider.

use crate::support::provider::{Browser, PASSWORD, Provider};

use portcullis::clock::Clock;
use portcullis::config::Oidc;
use portcullis::control::{NewGrant, NewMember};
use portcullis::domain::ids::{MemberId, WorkspaceId};
use portcullis::domain::network::Network;
use serde_json::json;

use crate::support::{Answer, ISSUER, OPERATOR, TempDir, TestControl};

const EMAIL: &str = "ada@example.com";

async fn server(dir: &TempDir, oidc: Oidc) -> TestControl {
    let server = TestControl::start_with(dir, |settings| settings.login.oidc = Some(oidc)).await;
    // The provider's clock is the real one.
    server.clock.set(Clock::System.now());
    server
}

async fn workspace(server: &TestControl, owner: &str) -> WorkspaceId {
    let workspace = server.control.workspaces.create(&OPERATOR, "Acme").await.unwrap();
    server
        .control
        .members
        .create_owner(&OPERATOR, &workspace.id, owner)
        .await
        .unwrap();
    workspace.id
}

#[track_caller]
fn refused(answer: &Answer, status: u16, words: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, status, "{text}");
    assert!(text.contains(words), "{text}");
    assert!(
        !answer
            .all("set-cookie")
            .iter()
            .any(|cookie| cookie.starts_with("__Host-portcullis="))
    );
}

#[tokio::test]
async fn sign_on_opens_accounts_of_members_only() {
    for in_id_token in [true, false] {
        let provider = Provider::start(in_id_token);
        let dir = TempDir::new();
        let server = server(&dir, provider.settings()).await;
        workspace(&server, EMAIL).await;

        let mut ada = Browser::default();
        let answer = ada.sign_on(&server, "ada-1|Ada@Example.com").await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, Some("/workspaces")),
            "{answer:?}"
        );
        assert_eq!(ada.email(&server).await.as_deref(), Some(EMAIL));

        // The subject identifies the account after its address has changed; nobody else gets the address.
        let mut later = Browser::default();
        assert_eq!(later.sign_on(&server, "ada-1|Ada@Example.com").await.status, 303);
        let mut moved = Browser::default();
        moved.sign_on(&server, "ada-1|Ada@Example.com").await;
        let mut thief = Browser::default();
        refused(
            &thief.sign_on(&server, "eve-1|ada@example.com").await,
            403,
            "another identity",
        );
        assert_eq!(thief.email(&server).await, None);

        let mut stranger = Browser::default();
        refused(
            &stranger.sign_on(&server, "bob-1|bob@example.com").await,
            403,
            "invite",
        );
        refused(
            &Browser::default()
                .sign_on(&server, "eve-2|ada@example.com|unverified")
                .await,
            403,
            "verified",
        );
        server.stop().await;
    }
}

#[tokio::test]
async fn sign_on_callback_is_valid_once_in_its_browser() {
    let provider = Provider::start(true);
    let dir = TempDir::new();
    let server = server(&dir, provider.settings()).await;
    workspace(&server, EMAIL).await;
    let login = "ada-1|ada@example.com";

    // A callback in another browser would sign its visitor in to the account of an attacker.
    let mut attacker = Browser::default();
    let begun = attacker.begin(&server, "/").await;
    let back = attacker.at_provider(&server, &begun, login).await;
    let mut victim = Browser::default();
    refused(&victim.send(&server, "GET", &back, "").await, 400, "start again");
    victim.begin(&server, "/").await;
    refused(&victim.send(&server, "GET", &back, "").await, 400, "start again");
    // Its own browser, once.
    let kept = attacker.cookies.clone();
    assert_eq!(attacker.send(&server, "GET", &back, "").await.status, 303);
    attacker.cookies = kept;
    refused(
        &attacker.send(&server, "GET", &back, "").await,
        400,
        "start again",
    );

    // Too late.
    let mut slow = Browser::default();
    let begun = slow.begin(&server, "/").await;
    let back = slow.at_provider(&server, &begun, login).await;
    server.clock.set(Clock::System.now().plus(601));
    refused(&slow.send(&server, "GET", &back, "").await, 400, "start again");
    server.clock.set(Clock::System.now());
}

#[tokio::test]
async fn foreign_sign_on_callback_is_rejected() {
    let provider = Provider::start(true);
    let dir = TempDir::new();
    let server = server(&dir, provider.settings()).await;
    workspace(&server, EMAIL).await;
    let login = "ada-1|ada@example.com";
    // Another provider's answer, an error, and no answer at all.
    for (from, to) in [
        ("iss=", "iss=https%3A%2F%2Fevil.test&was="),
        ("code=", "error=access_denied&was="),
        ("code=", "was="),
    ] {
        let mut browser = Browser::default();
        let begun = browser.begin(&server, "/").await;
        let back = browser.at_provider(&server, &begun, login).await;
        assert!(back.contains(from), "{back}");
        refused(
            &browser
                .send(&server, "GET", &back.replacen(from, to, 1), "")
                .await,
            400,
            "start again",
        );
    }
    for query in ["", "?", "?state=x&code=y", "?state=a&state=a", "?code=%zz"] {
        let url = format!("{ISSUER}/login/oidc/callback{query}");
        refused(
            &Browser::default().send(&server, "GET", &url, "").await,
            400,
            "start again",
        );
    }
    // A code that was made for another sign-on: its verifier is not ours, nor its nonce.
    let mut one = Browser::default();
    let begun = one.begin(&server, "/").await;
    let stolen = one.at_provider(&server, &begun, login).await;
    let code = |url: &str| {
        url.split("code=")
            .nth(1)
            .unwrap()
            .split('&')
            .next()
            .unwrap()
            .to_owned()
    };
    let mut other = Browser::default();
    let begun = other.begin(&server, "/").await;
    let back = other.at_provider(&server, &begun, "eve-1|eve@example.com").await;
    let swapped = back.replace(&code(&back), &code(&stolen));
    refused(
        &other.send(&server, "GET", &swapped, "").await,
        400,
        "start again",
    );
}

#[tokio::test]
async fn sign_on_redirects_to_the_provider_and_back() {
    let provider = Provider::start(true);
    let dir = TempDir::new();
    let server = server(&dir, provider.settings()).await;
    workspace(&server, EMAIL).await;
    for (next, location) in [
        ("%2Fworkspaces%3Ftab%3Dkeys", "/workspaces?tab=keys"),
        ("%2F%2Fevil.test", "/"),
        ("%2F%5Cevil.test", "/"),
        ("https%3A%2F%2Fevil.test", "/"),
    ] {
        let mut browser = Browser::default();
        let begun = browser.begin(&server, next).await;
        let (endpoint, query) = begun.split_once('?').unwrap();
        assert!(endpoint.starts_with(&provider.issuer));
        for parameter in [
            "response_type=code",
            "code_challenge_method=S256",
            "state=",
            "nonce=",
            "scope=openid%20email",
        ] {
            assert!(query.contains(parameter), "{query}");
        }
        let back = browser
            .at_provider(&server, &begun, "ada-1|ada@example.com")
            .await;
        let answer = browser.send(&server, "GET", &back, "").await;
        assert_eq!(answer.header("location"), Some(location), "{answer:?}");
    }
    let begun = Browser::default()
        .send(&server, "GET", &format!("{ISSUER}/login/oidc"), "")
        .await;
    let cookie = begun.all("set-cookie")[0].to_owned();
    assert!(
        cookie.starts_with("__Host-portcullis-sign-on=") && cookie.contains("Max-Age=600"),
        "{cookie}"
    );
    assert!(cookie.ends_with("; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
}

#[tokio::test]
async fn private_or_mismatching_provider_is_rejected() {
    let provider = Provider::start(true);
    let url = format!("{ISSUER}/login/oidc");
    for (differ, status) in [
        (&(|_: &mut Oidc| {}) as &dyn Fn(&mut Oidc), 303),
        (&|oidc: &mut Oidc| oidc.networks.clear(), 502),
        (
            &|oidc: &mut Oidc| oidc.networks = vec![Network::parse("10.0.0.0/8").unwrap()],
            502,
        ),
        // The same server by another name is another issuer, and a name is looked up before it is believed.
        (
            &|oidc: &mut Oidc| oidc.issuer = oidc.issuer.replace("127.0.0.1", "localhost"),
            502,
        ),
        (&|oidc: &mut Oidc| oidc.issuer.push('/'), 502),
    ] {
        let mut settings = provider.settings();
        differ(&mut settings);
        let dir = TempDir::new();
        let server = server(&dir, settings).await;
        let answer = Browser::default().send(&server, "GET", &url, "").await;
        assert_eq!(answer.status, status, "{answer:?}");
        server.stop().await;
    }
    let dir = TempDir::new();
    let without = TestControl::start(&dir).await;
    refused(
        &Browser::default().send(&without, "GET", &url, "").await,
        404,
        "password",
    );
}

#[tokio::test]
async fn sign_on_accepts_listed_domains_only() {
    let provider = Provider::start(true);
    let dir = TempDir::new();
    let mut settings = provider.settings();
    settings.domains = vec!["example.com".to_owned()];
    let server = server(&dir, settings).await;
    workspace(&server, EMAIL).await;
    workspace(&server, "ada@elsewhere.test").await;
    assert_eq!(
        Browser::default()
            .sign_on(&server, "ada-1|ada@example.com")
            .await
            .status,
        303
    );
    let answer = Browser::default()
        .sign_on(&server, "ada-2|ada@elsewhere.test")
        .await;
    refused(&answer, 403, "invite");
}

/// Somebody is invited to the workspace; the secret that they are sent.
async fn invited(server: &TestControl, workspace: &WorkspaceId, email: &str) -> String {
    let new = NewMember {
        email: email.to_owned(),
        roles: vec![NewGrant {
            role: "workspace_member".to_owned(),
            resources: None,
        }],
    };
    let invited = server
        .control
        .invitations
        .invite_member(&OPERATOR, workspace, &new)
        .await;
    invited.unwrap().expose().to_owned()
}

async fn accept(server: &TestControl, secret: &str) -> Answer {
    let body = json!({"secret": secret, "password": PASSWORD}).to_string();
    let headers = [("Content-Type", "application/json")];
    server
        .send("POST", "/api/v1/invitations/accept", &headers, body.as_bytes())
        .await
}

/// Whether the browser's person may open the workspace.
async fn opens(browser: &mut Browser, server: &TestControl, workspace: &WorkspaceId) -> bool {
    let url = format!("{ISSUER}/api/v1/workspaces/{}", workspace.as_str());
    browser.send(server, "GET", &url, "").await.status == 200
}

#[tokio::test]
async fn invitation_accepted_by_another_is_not_taken_over() {
    let provider = Provider::start(true);
    let dir = TempDir::new();
    let server = server(&dir, provider.settings()).await;
    let own = workspace(&server, EMAIL).await;
    let eves = workspace(&server, "eve@example.com").await;
    let other = workspace(&server, "bob@example.com").await;
    let mut ada = Browser::default();
    assert_eq!(ada.sign_on(&server, "ada-1|ada@example.com").await.status, 303);
    // Eve owns the workspace, and so sees the secret. She is not told that Ada has an account.
    let secret = invited(&server, &eves, EMAIL).await;
    assert_eq!(accept(&server, &secret).await.status, 200);
    let mut eve = Browser::default().with_password(&server, EMAIL).await.unwrap();
    assert!(opens(&mut eve, &server, &eves).await && !opens(&mut eve, &server, &own).await);
    assert!(opens(&mut ada, &server, &own).await && !opens(&mut ada, &server, &eves).await);
    // What is open yet, Ada accepts by signing on, and what Eve has taken stays Eve's.
    invited(&server, &other, EMAIL).await;
    assert_eq!(ada.sign_on(&server, "ada-1|ada@example.com").await.status, 303);
    for (browser, expected) in [(&mut ada, [true, false, true]), (&mut eve, [false, true, false])] {
        for (id, expected) in [&own, &eves, &other].into_iter().zip(expected) {
            assert_eq!(opens(browser, &server, id).await, expected, "{id}");
        }
    }
    let joined: Vec<String> = sqlx::query_scalar(
        "SELECT resource_name FROM audit_events WHERE workspace = $1 AND action = 'member.joined'",
    )
    .bind(other.as_str())
    .fetch_all(&mut dir.sql().await)
    .await
    .unwrap();
    assert_eq!(joined, [EMAIL]);
}

#[tokio::test]
async fn earlier_password_does_not_open_the_sign_on_account() {
    let provider = Provider::start(true);
    let dir = TempDir::new();
    let server = server(&dir, provider.settings()).await;
    let theirs = workspace(&server, "eve@example.com").await;
    let real = workspace(&server, "owner@example.com").await;
    // Eve invites the address of a person without an account, and accepts the invitation herself.
    let secret = invited(&server, &theirs, EMAIL).await;
    assert_eq!(accept(&server, &secret).await.status, 200);
    let mut eve = Browser::default().with_password(&server, EMAIL).await.unwrap();
    // Nobody has invited Ada but Eve, who has used that up.
    let mut ada = Browser::default();
    refused(
        &ada.sign_on(&server, "ada-1|ada@example.com").await,
        403,
        "sign in with the password",
    );
    invited(&server, &real, EMAIL).await;
    assert_eq!(ada.sign_on(&server, "ada-1|ada@example.com").await.status, 303);
    assert!(opens(&mut ada, &server, &real).await && !opens(&mut ada, &server, &theirs).await);
    assert!(opens(&mut eve, &server, &theirs).await && !opens(&mut eve, &server, &real).await);
}

#[tokio::test]
async fn sign_on_takes_over_the_membership_only() {
    let provider = Provider::start(true);
    let dir = TempDir::new();
    let server = server(&dir, provider.settings()).await;
    let first = workspace(&server, "owner@example.com").await;
    let second = workspace(&server, "bob@example.com").await;
    let secret = invited(&server, &first, EMAIL).await;
    assert_eq!(accept(&server, &secret).await.status, 200);
    let mut ada = Browser::default().with_password(&server, EMAIL).await.unwrap();
    // Whoever else knows the password: a session and an API token of before.
    let mut elsewhere = Browser::default().with_password(&server, EMAIL).await.unwrap();
    let member: String = sqlx::query_scalar(
        "SELECT m.id FROM members m JOIN accounts a ON a.id = m.account WHERE a.email = $1",
    )
    .bind(EMAIL)
    .fetch_one(&mut dir.sql().await)
    .await
    .unwrap();
    let member = MemberId::parse(&member).unwrap();
    let token = server
        .control
        .api_tokens
        .create_api_token(&OPERATOR, &member, "kept", None);
    let token = token.await.unwrap();
    assert!(
        server
            .control
            .api_tokens
            .authenticate(token.expose())
            .await
            .is_ok()
    );

    assert_eq!(ada.sign_on(&server, "ada-1|ada@example.com").await.status, 303);
    assert!(opens(&mut ada, &server, &first).await);
    assert!(!opens(&mut elsewhere, &server, &first).await);
    assert!(
        server
            .control
            .api_tokens
            .authenticate(token.expose())
            .await
            .is_err()
    );
    assert!(Browser::default().with_password(&server, EMAIL).await.is_none());
    // From then on every invitation of the address is theirs, with its secret or by signing on.
    let secret = invited(&server, &second, EMAIL).await;
    let cookies = ada.cookie_header();
    let headers = [
        ("Cookie", cookies.as_str()),
        ("Sec-Fetch-Site", "same-origin"),
        ("Content-Type", "application/json"),
    ];
    let body = json!({ "secret": secret }).to_string();
    let joined = server
        .send("POST", "/api/v1/invitations/accept", &headers, body.as_bytes())
        .await;
    assert_eq!(joined.status, 200, "{joined:?}");
    assert!(opens(&mut ada, &server, &first).await && opens(&mut ada, &server, &second).await);
}

#[tokio::test]
async fn expired_invitation_is_not_accepted_by_sign_on() {
    let provider = Provider::start(true);
    let dir = TempDir::new();
    let server = server(&dir, provider.settings()).await;
    let own = workspace(&server, "owner@example.com").await;
    invited(&server, &own, EMAIL).await;
    sqlx::query("UPDATE invitations SET expires_at = 1")
        .execute(&mut dir.sql().await)
        .await
        .unwrap();
    refused(
        &Browser::default().sign_on(&server, "ada-1|ada@example.com").await,
        403,
        "invite",
    );
}
