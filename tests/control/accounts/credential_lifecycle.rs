//! Every credential after every event that may end it: what it still opens. It is what
//! `docs/credentials.md` says, cell by cell.

use std::collections::BTreeMap;
use std::path::Path;

use portcullis::clock::Clock;
use portcullis::config::{ControlLimits, Rate};
use serde_json::{Value, json};

use crate::support::provider::{Browser, Provider};
use crate::support::{Answer, OPERATOR, TempDir, Tenant, TestControl, session_cookie};

const PASSWORD: &str = "the password of before";
const NEW_PASSWORD: &str = "the password of afterwards";
const DAY: u64 = 86_400;

/// Ways to authenticate, and which of them an unverified account has.
const PROOFS: [(&str, bool); 6] = [
    ("Password", true),
    ("Sign-on", false),
    ("Invitation", false),
    ("API token", true),
    ("Session", true),
    ("Known browser", true),
];

const ENDS: [End; 7] = [
    End::Reset,
    End::Change,
    End::SignOut,
    End::Everywhere,
    End::Removal,
    End::Demotion,
    End::Expiry,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Reset,
    Change,
    SignOut,
    Everywhere,
    Removal,
    Demotion,
    Expiry,
}

impl End {
    const fn title(self) -> &'static str {
        match self {
            Self::Reset => "Password reset",
            Self::Change => "Password change",
            Self::SignOut => "Sign-out",
            Self::Everywhere => "Sign-out everywhere",
            Self::Removal => "Removal",
            Self::Demotion => "Demotion",
            Self::Expiry => "Expiry",
        }
    }
}

type Table = BTreeMap<(String, String), String>;

/// The table under a heading of the document, by row and column.
fn documented(heading: &str) -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/credentials.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("\n### {heading}\n")).unwrap();
    let lines = rest.lines().skip_while(|line| !line.starts_with('|'));
    let mut rows = lines.take_while(|line| line.starts_with('|')).map(|line| {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    });
    let columns = rows.next().unwrap();
    rows.next().unwrap();
    let mut table = Table::new();
    for row in rows {
        for (column, cell) in columns.iter().zip(&row).skip(1) {
            table.insert((row[0].clone(), column.clone()), cell.clone());
        }
    }
    table
}

/// What a proof opens: the workspace that its person was removed from or demoted in, and another one.
const fn words(here: bool, there: bool) -> &'static str {
    match (here, there) {
        (true, _) => "lives on",
        (false, true) => "ends here",
        (false, false) => "ends",
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The workspaces of the story.
struct World<'s> {
    server: &'s TestControl,
    here: Tenant<'s>,
    there: Tenant<'s>,
    /// Where the person is only invited.
    third: Tenant<'s>,
}

/// Everything that one person can prove themselves with.
struct Person<'w> {
    world: &'w World<'w>,
    email: String,
    member: String,
    cookie: String,
    browser: String,
    token: String,
    invitation: Option<(String, String)>,
    signs_on: Option<Browser>,
}

fn cookie_of(answer: &Answer, name: &str) -> Option<String> {
    let begin = format!("{name}=");
    let cookies = answer.all("set-cookie");
    let set = cookies.iter().find(|set| set.starts_with(&begin));
    set.map(|set| set.split(';').next().unwrap().to_owned())
}

const BROWSER: &str = "__Host-portcullis-browser";

impl World<'_> {
    async fn post(&self, path: &str, cookie: &str, body: &Value) -> Answer {
        self.call("POST", path, cookie, &body.to_string()).await
    }

    async fn call(&self, method: &str, path: &str, cookie: &str, body: &str) -> Answer {
        let headers = [
            ("Cookie", cookie),
            ("Sec-Fetch-Site", "same-origin"),
            ("Content-Type", "application/json"),
        ];
        let target = format!("/api/v1{path}");
        self.server.send(method, &target, &headers, body.as_bytes()).await
    }

    async fn sign_in(&self, email: &str, password: &str, cookie: &str) -> Answer {
        let body = json!({"email": email, "password": password});
        self.post("/session", cookie, &body).await
    }

    async fn invite(&self, tenant: &Tenant<'_>, email: &str) -> (String, String) {
        let body = json!({"email": email, "roles": [{"role": "workspace_owner"}]});
        let invited = tenant.call("POST", "/members", Some(body)).await;
        assert_eq!(invited.status, 201, "{invited:?}");
        let invited = invited.json();
        (text(&invited["id"]), text(&invited["invitation"]["secret"]))
    }

    async fn accept(&self, secret: &str) -> Answer {
        let body = json!({"secret": secret, "password": PASSWORD});
        self.post("/invitations/accept", "", &body).await
    }

    /// Whether a session opens the two workspaces.
    async fn opens(&self, cookie: &str) -> (bool, bool) {
        let mut opened = [false; 2];
        for (opened, tenant) in opened.iter_mut().zip([&self.here, &self.there]) {
            let answer = self
                .call("GET", &format!("/workspaces/{}", tenant.id), cookie, "")
                .await;
            assert!([200, 401, 404].contains(&answer.status), "{answer:?}");
            *opened = answer.status == 200;
        }
        opened.into()
    }

    /// Somebody whom the operator vouches for, or who has accepted an invitation and no more.
    async fn person(&self, email: &str, provider: Option<&str>) -> Person<'_> {
        let control = &self.server.control;
        let member = if provider.is_some() {
            control
                .members
                .create_owner(&OPERATOR, &self.there.id, email)
                .await
                .unwrap();
            let member = control
                .members
                .create_owner(&OPERATOR, &self.here.id, email)
                .await
                .unwrap();
            control
                .passwords
                .reset_password(&OPERATOR, email, PASSWORD, &[])
                .await
                .unwrap();
            member.id.to_string()
        } else {
            let (member, secret) = self.invite(&self.here, email).await;
            assert_eq!(self.accept(&secret).await.status, 200);
            member
        };
        let opened = self.sign_in(email, PASSWORD, "").await;
        let cookie = session_cookie(&opened);
        let path = format!("/workspaces/{}/api-tokens", self.here.id);
        let made = self.post(&path, &cookie, &json!({"name": "tests"})).await;
        assert_eq!(made.status, 201, "{made:?}");
        let mut signs_on = None;
        if let Some(login) = provider {
            let mut browser = Browser::default();
            browser = browser.signed_in(self.server, email, PASSWORD).await.unwrap();
            assert_eq!(browser.sign_on(self.server, login).await.status, 303);
            signs_on = Some(browser);
        }
        let invitation = match provider {
            Some(_) => Some(self.invite(&self.third, email).await),
            None => None,
        };
        Person {
            world: self,
            email: email.to_owned(),
            member,
            browser: cookie_of(&opened, BROWSER).unwrap(),
            cookie,
            token: text(&made.json()["token"]),
            invitation,
            signs_on,
        }
    }
}

impl Person<'_> {
    async fn end(&self, end: End) {
        let World {
            server, here, third, ..
        } = self.world;
        let call = async |method: &str, path: &str, body: &str| {
            let answer = self.world.call(method, path, &self.cookie, body).await;
            assert!(answer.status < 300, "{end:?} {answer:?}");
            answer
        };
        let member = format!("/members/{}", self.member);
        let roles = json!({"roles": [{"role": "workspace_member"}]});
        let both = [
            Some((here, member)),
            self.invitation
                .as_ref()
                .map(|(id, _)| (third, format!("/members/{id}"))),
        ];
        match end {
            End::Reset => {
                let reset =
                    server
                        .control
                        .passwords
                        .reset_password(&OPERATOR, &self.email, NEW_PASSWORD, &[]);
                assert_eq!(reset.await.unwrap().ended.api_tokens, 1);
            }
            End::Change => {
                let body = json!({"current_password": PASSWORD, "password": NEW_PASSWORD}).to_string();
                let changed = call("PUT", "/session/password", &body).await;
                assert_eq!(changed.json()["api_tokens_ended"], 1);
            }
            End::SignOut => drop(call("DELETE", "/session", "").await),
            End::Everywhere => {
                let ended = call("DELETE", "/sessions", "").await;
                assert_eq!(ended.json()["api_tokens_ended"], 0);
            }
            End::Removal => {
                for (tenant, path) in both.into_iter().flatten() {
                    assert_eq!(tenant.call("DELETE", &path, None).await.status, 204);
                }
            }
            End::Demotion => {
                for (tenant, path) in both.into_iter().flatten() {
                    let changed = tenant.call("PATCH", &path, Some(roles.clone())).await;
                    assert_eq!(changed.status, 200, "{changed:?}");
                }
            }
            End::Expiry => server.clock.set(Clock::System.now().plus(181 * DAY)),
        }
    }

    /// What each proof still opens.
    async fn observed(&mut self, end: End) -> Vec<(&'static str, &'static str)> {
        let world = self.world;
        let mut seen = Vec::new();
        let (here, there) = world.opens(&self.cookie).await;
        seen.push(("Session", words(here, there)));
        let answer = world.here.call_as(&self.token, "GET", "", None).await;
        assert!([200, 401].contains(&answer.status), "{answer:?}");
        seen.push(("API token", words(answer.status == 200, false)));
        if let Some((_, secret)) = &self.invitation {
            let accepted = world.accept(secret).await;
            assert!([200, 422].contains(&accepted.status), "{accepted:?}");
            seen.push(("Invitation", words(accepted.status == 200, false)));
        }
        let current = if [End::Reset, End::Change].contains(&end) {
            NEW_PASSWORD
        } else {
            PASSWORD
        };
        // A browser that is known is given no new secret.
        let opened = world.sign_in(&self.email, current, &self.browser).await;
        let known = opened.status == 201 && cookie_of(&opened, BROWSER).is_none();
        seen.push(("Known browser", words(known, false)));
        let opened = world.sign_in(&self.email, PASSWORD, "").await;
        let (here, there) = match opened.status {
            201 => world.opens(&session_cookie(&opened)).await,
            status => {
                assert_eq!(status, 401, "{opened:?}");
                (false, false)
            }
        };
        seen.push(("Password", words(here, there)));
        if self.signs_on.is_some() {
            // The provider's clock is the real one.
            world.server.clock.set(Clock::System.now());
            let mut browser = Browser::default();
            let login = login_of(&self.email);
            let signed_on = browser.sign_on(world.server, &login).await;
            assert_eq!(signed_on.status, 303, "{signed_on:?}");
            let (here, there) = world.opens(&browser.cookie_header()).await;
            seen.push(("Sign-on", words(here, there)));
        }
        seen
    }
}

fn login_of(email: &str) -> String {
    let name = email.split('@').next().unwrap();
    format!("{name}|{email}")
}

#[tokio::test]
async fn credentials_are_revoked_as_documented() {
    let provider = Provider::start(true);
    let dir = TempDir::new();
    let plenty = Rate {
        per_second: 1_000_000,
        burst: 1_000_000,
    };
    let oidc = provider.settings();
    let server = TestControl::start_with(&dir, |settings| {
        settings.login.oidc = Some(oidc);
        settings.limits = ControlLimits {
            api_account: plenty,
            api_address: plenty,
            ..ControlLimits::default()
        };
    })
    .await;
    server.clock.set(Clock::System.now());
    let world = World {
        server: &server,
        here: server.workspace().await,
        there: server.workspace().await,
        third: server.workspace().await,
    };
    for (heading, is_verified) in [("Verified address", true), ("Unverified address", false)] {
        let expected = documented(heading);
        let proofs = PROOFS.iter().filter(|(_, has)| is_verified || *has);
        assert_eq!(expected.len(), proofs.count() * ENDS.len(), "{heading}");
        let mut observed = Table::new();
        for end in ENDS {
            server.clock.set(Clock::System.now());
            let email = format!("{end:?}-{is_verified}@example.com").to_lowercase();
            let login = is_verified.then(|| login_of(&email));
            let mut person = world.person(&email, login.as_deref()).await;
            person.end(end).await;
            for (proof, outcome) in person.observed(end).await {
                observed.insert((proof.to_owned(), end.title().to_owned()), outcome.to_owned());
            }
        }
        for (cell, outcome) in &expected {
            assert_eq!(observed.get(cell), Some(outcome), "{heading}: {cell:?}");
        }
    }
}

#[tokio::test]
async fn api_tokens_are_kept_or_revoked_on_request() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let world = World {
        server: &server,
        here: server.workspace().await,
        there: server.workspace().await,
        third: server.workspace().await,
    };
    let person = world.person("ada@example.com", None).await;
    let works = async || {
        let answer = world.here.call_as(&person.token, "GET", "", None).await;
        answer.status == 200
    };
    let body = json!({
        "current_password": PASSWORD, "password": NEW_PASSWORD, "keep_api_tokens": true,
    });
    let changed = world
        .call("PUT", "/session/password", &person.cookie, &body.to_string())
        .await;
    assert_eq!(
        (changed.status, &changed.json()["api_tokens_ended"]),
        (200, &json!(0))
    );
    assert!(works().await);
    let cookie = session_cookie(&changed);
    let ended = world
        .call("DELETE", "/sessions?api_tokens=true", &cookie, "")
        .await;
    assert_eq!(
        (ended.status, ended.json()),
        (200, json!({"sessions_ended": 1, "api_tokens_ended": 1}))
    );
    assert!(!works().await);
    // The trail of the workspace tells its owners.
    let events = world
        .here
        .call("GET", "/audit-events?action=member.api_tokens_ended", None)
        .await
        .json();
    assert_eq!(
        events["items"][0]["resource"]["name"], "ada@example.com",
        "{events}"
    );
}
