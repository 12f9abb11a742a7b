//! `login.passwords: off`: the provider is the only way to sign in, in the API and in the console.

use portcullis::clock::Clock;
use portcullis::control::{NewGrant, NewMember};
use portcullis::domain::ids::WorkspaceId;
use serde_json::{Value, json};

use crate::support::provider::{Browser, PASSWORD, Provider};
use crate::support::{Answer, ISSUER, OPERATOR, TempDir, TestControl};

const OWNER: &str = "ada@example.com";
const JOINED: &str = "bob@example.com";
const INVITED: &str = "carol@example.com";

/// A server on the store of the test.
async fn server(dir: &TempDir, provider: &Provider, has_passwords: bool) -> TestControl {
    let server = TestControl::start_with(dir, |settings| {
        settings.login.oidc = Some(provider.settings());
        settings.login.passwords = has_passwords;
    })
    .await;
    // The provider's clock is the real one.
    server.clock.set(Clock::System.now());
    server
}

/// The workspace of the first owner, who has a password.
async fn first_owner(server: &TestControl) -> WorkspaceId {
    let made = server
        .control
        .members
        .create_first_owner(&OPERATOR, OWNER, "Acme", PASSWORD)
        .await;
    made.unwrap().0.id
}

/// The secret of an invitation.
async fn invited(server: &TestControl, workspace: &WorkspaceId, email: &str) -> String {
    let new = NewMember {
        email: email.to_owned(),
        roles: vec![NewGrant {
            role: "workspace_member".to_owned(),
            resources: None,
        }],
    };
    let invitations = &server.control.invitations;
    let invited = invitations.invite_member(&OPERATOR, workspace, &new).await;
    invited.unwrap().expose().to_owned()
}

async fn post(server: &TestControl, path: &str, body: &Value) -> Answer {
    let headers = [("Content-Type", "application/json")];
    server
        .send("POST", path, &headers, body.to_string().as_bytes())
        .await
}

#[track_caller]
fn assert_off(answer: &Answer) {
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(answer.json()["type"], "urn:portcullis:problem:passwords-off");
    assert_eq!(
        answer.json()["detail"],
        "use single sign-on; passwords are turned off on this server"
    );
}

async fn page(browser: &mut Browser, server: &TestControl, path: &str) -> String {
    let answer = browser.send(server, "GET", &format!("{ISSUER}{path}"), "").await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.text()
}

/// A store on which the owner and a further member have passwords, and the owner's browser is signed in with one.
async fn with_passwords(dir: &TempDir, provider: &Provider) -> (WorkspaceId, Browser) {
    let before = server(dir, provider, true).await;
    let workspace = first_owner(&before).await;
    let secret = invited(&before, &workspace, JOINED).await;
    let accepted = post(
        &before,
        "/api/v1/invitations/accept",
        &json!({"secret": secret, "password": PASSWORD}),
    )
    .await;
    assert_eq!(accepted.status, 200, "{accepted:?}");
    let mut old = Browser::default().with_password(&before, OWNER).await.unwrap();
    assert_eq!(old.email(&before).await.as_deref(), Some(OWNER));
    // With passwords on, a sign-on does not open an account that has one.
    let refused = Browser::default().sign_on(&before, "ada-1|ada@example.com").await;
    assert_eq!(refused.status, 403);
    before.stop().await;
    (workspace, old)
}

#[tokio::test]
async fn passwords_are_refused_and_sign_on_opens_the_account() {
    let provider = Provider::start(true);
    let dir = TempDir::new();
    let (workspace, mut old) = with_passwords(&dir, &provider).await;
    let server = server(&dir, &provider, false).await;
    assert_eq!(
        old.email(&server).await,
        None,
        "the session of a password is over"
    );
    assert_off(
        &post(
            &server,
            "/api/v1/session",
            &json!({"email": OWNER, "password": PASSWORD}),
        )
        .await,
    );
    let secret = invited(&server, &workspace, INVITED).await;
    for body in [
        json!({"secret": secret, "password": PASSWORD}),
        json!({"secret": secret}),
    ] {
        assert_off(&post(&server, "/api/v1/invitations/accept", &body).await);
    }

    let mut owner = Browser::default();
    let signed_on = owner.sign_on(&server, "ada-1|ada@example.com").await;
    assert_eq!(signed_on.status, 303, "{signed_on:?}");
    assert_eq!(owner.email(&server).await.as_deref(), Some(OWNER));
    let change = json!({"current_password": PASSWORD, "password": "another long password"});
    let cookies = owner.cookie_header();
    let headers = [
        ("Cookie", cookies.as_str()),
        ("Sec-Fetch-Site", "same-origin"),
        ("Content-Type", "application/json"),
    ];
    let changed = server
        .send(
            "PUT",
            "/api/v1/session/password",
            &headers,
            change.to_string().as_bytes(),
        )
        .await;
    assert_off(&changed);

    // The sign-on accepts the invitation of its address.
    let mut carol = Browser::default();
    assert_eq!(
        carol.sign_on(&server, "carol-1|carol@example.com").await.status,
        303
    );
    let url = format!("{ISSUER}/api/v1/workspaces/{workspace}");
    assert_eq!(carol.send(&server, "GET", &url, "").await.status, 200);

    // Who joined with a password and an address that nobody has verified is told what helps.
    let refused = Browser::default().sign_on(&server, "bob-1|bob@example.com").await;
    assert_eq!(refused.status, 403);
    assert!(
        refused
            .text()
            .contains("ask a workspace owner to remove the member")
    );
    // The operator vouches for the address.
    server
        .control
        .passwords
        .reset_password(&OPERATOR, JOINED, "any long password", &[])
        .await
        .unwrap();
    let mut bob = Browser::default();
    assert_eq!(bob.sign_on(&server, "bob-1|bob@example.com").await.status, 303);
    assert_eq!(bob.send(&server, "GET", &url, "").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn console_hides_passwords_that_are_turned_off() {
    let provider = Provider::start(true);
    for has_passwords in [true, false] {
        let dir = TempDir::new();
        let server = server(&dir, &provider, has_passwords).await;
        let workspace = first_owner(&server).await;
        let mut browser = Browser::default();
        for path in ["/console/sign-in", "/console/join"] {
            let page = page(&mut browser, &server, path).await;
            assert_eq!(page.contains("type=\"password\""), has_passwords, "{path}");
        }
        let sign_in = page(&mut browser, &server, "/console/sign-in").await;
        assert!(sign_in.contains("Sign in with single sign-on"));
        let join = page(&mut browser, &server, "/console/join").await;
        assert_eq!(join.contains("/login/oidc"), !has_passwords);

        let sign_in = format!("{ISSUER}/console/sign-in");
        let form = format!("next=/console&email={OWNER}&password=a+long+enough+password");
        let answer = browser.send(&server, "POST", &sign_in, &form).await;
        if has_passwords {
            assert_eq!(answer.status, 303, "{answer:?}");
        } else {
            assert_eq!(answer.status, 403, "{answer:?}");
            assert!(
                answer
                    .text()
                    .contains("Use single sign-on; passwords are turned off")
            );
            browser.sign_on(&server, "ada-1|ada@example.com").await;
        }
        let account = format!("/console/w/{workspace}/account");
        let overview = page(&mut browser, &server, &account).await;
        assert_eq!(overview.contains("Change password"), has_passwords);
        let form = format!("{ISSUER}{account}/password");
        let answer = browser.send(&server, "GET", &form, "").await;
        assert_eq!(answer.status, if has_passwords { 200 } else { 403 }, "{answer:?}");
        server.stop().await;
    }
}
