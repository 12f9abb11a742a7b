//! An OpenID provider in a process of its own, and a browser that signs on there.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use portcullis::config::{ClientSecret, Oidc};
use portcullis::domain::network::Network;
use serde_json::json;

use crate::secrets;
use crate::support::{Answer, ISSUER, TestControl, send_to};

pub const CLIENT_ID: &str = "portcullis of the tests";

/// Characters that a form has to escape.
pub const CLIENT_SECRET: &str = "a secret: 100% of it & more+";

/// The password that a browser sets when it accepts an invitation.
pub const PASSWORD: &str = "a long enough password";

/// The npm package oidc-provider in a process of its own.
pub struct Provider {
    pub process: Child,
    pub issuer: String,
    pub _output: BufReader<ChildStdout>,
}

impl Provider {
    pub fn start(in_id_token: bool) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/oidc");
        assert!(
            folder.join("node_modules/oidc-provider").exists(),
            "run tests/sdk/setup.sh first"
        );
        let settings = json!({
            "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "in_id_token": in_id_token,
            "redirect_uri": format!("{ISSUER}/login/oidc/callback"),
        });
        secrets::note([CLIENT_SECRET]);
        let mut process = Command::new("node")
            .arg(folder.join("provider.mjs"))
            .env("PROVIDER", settings.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut issuer = String::new();
        output.read_line(&mut issuer).unwrap();
        Self {
            process,
            issuer: issuer.trim().to_owned(),
            _output: output,
        }
    }

    pub fn settings(&self) -> Oidc {
        Oidc {
            issuer: self.issuer.clone(),
            client_id: CLIENT_ID.to_owned(),
            client_secret: ClientSecret::new(CLIENT_SECRET.to_owned()),
            scopes: vec!["openid".to_owned(), "email".to_owned()],
            domains: Vec::new(),
            networks: vec![Network::parse("127.0.0.0/8").unwrap()],
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A browser: it keeps cookies for each server, and goes where it is sent.
#[derive(Default)]
pub struct Browser {
    pub cookies: BTreeMap<(String, String), String>,
}

impl Browser {
    pub async fn send(&mut self, server: &TestControl, method: &str, url: &str, form: &str) -> Answer {
        let (_, rest) = url.split_once("://").unwrap();
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address = if url.starts_with(ISSUER) {
            server.address
        } else {
            host.parse().unwrap()
        };
        let held = self.cookies.iter().filter(|((of, _), _)| of == host);
        let cookies: Vec<String> = held.map(|((_, name), value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let headers = [
            ("Cookie", cookies.as_str()),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        let answer = send_to(address, method, &format!("/{path}"), &headers, form.as_bytes()).await;
        for set in answer.all("set-cookie") {
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            let key = (host.to_owned(), name.to_owned());
            if value.is_empty() {
                self.cookies.remove(&key);
            } else {
                self.cookies.insert(key, value.to_owned());
            }
        }
        answer
    }

    /// Where an answer sends the browser.
    #[track_caller]
    pub fn next(url: &str, answer: &Answer) -> String {
        assert!([302, 303].contains(&answer.status), "{url}: {answer:?}");
        let location = answer.header("location").unwrap();
        if location.starts_with('/') {
            let host = url.split('/').take(3).collect::<Vec<_>>().join("/");
            format!("{host}{location}")
        } else {
            location.to_owned()
        }
    }

    /// Goes through the provider's forms as `login`, up to where it sends the browser back to.
    pub async fn at_provider(&mut self, server: &TestControl, begun: &str, login: &str) -> String {
        let mut url = begun.to_owned();
        for _ in 0..12 {
            if url.starts_with(ISSUER) {
                return url;
            }
            let mut answer = self.send(server, "GET", &url, "").await;
            if answer.status == 200 {
                let page = String::from_utf8_lossy(&answer.body).into_owned();
                let form = if page.contains("name=\"login\"") {
                    format!(
                        "prompt=login&login={}&password=any",
                        login.replace('|', "%7C").replace('@', "%40")
                    )
                } else {
                    "prompt=consent".to_owned()
                };
                answer = self.send(server, "POST", &url, &form).await;
            }
            url = Self::next(&url, &answer);
        }
        panic!("the provider never sent the browser back");
    }

    pub async fn begin(&mut self, server: &TestControl, next: &str) -> String {
        let url = format!("{ISSUER}/login/oidc?next={next}");
        let answer = self.send(server, "GET", &url, "").await;
        Self::next(&url, &answer)
    }

    /// The whole way.
    pub async fn sign_on(&mut self, server: &TestControl, login: &str) -> Answer {
        let begun = self.begin(server, "/workspaces").await;
        let back = self.at_provider(server, &begun, login).await;
        self.send(server, "GET", &back, "").await
    }

    /// The same browser once its person has signed in with the password, if that is theirs.
    pub async fn with_password(self, server: &TestControl, email: &str) -> Option<Self> {
        self.signed_in(server, email, PASSWORD).await
    }

    /// The same with this password.
    pub async fn signed_in(mut self, server: &TestControl, email: &str, password: &str) -> Option<Self> {
        let body = json!({"email": email, "password": password}).to_string();
        let headers = [("Content-Type", "application/json")];
        let answer = server
            .send("POST", "/api/v1/session", &headers, body.as_bytes())
            .await;
        let host = ISSUER.split("://").nth(1).unwrap();
        for set in answer.all("set-cookie") {
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies
                .insert((host.to_owned(), name.to_owned()), value.to_owned());
        }
        (answer.status == 201).then_some(self)
    }

    /// What the browser sends to the server along with a request.
    pub fn cookie_header(&self) -> String {
        let host = ISSUER.split("://").nth(1).unwrap();
        let held = self.cookies.iter().filter(|((of, _), _)| of == host);
        let cookies: Vec<String> = held.map(|((_, name), value)| format!("{name}={value}")).collect();
        cookies.join("; ")
    }

    /// Whom the server takes this browser's person for.
    pub async fn email(&mut self, server: &TestControl) -> Option<String> {
        let answer = self
            .send(server, "GET", &format!("{ISSUER}/api/v1/session"), "")
            .await;
        (answer.status == 200).then(|| answer.json()["email"].as_str().unwrap().to_owned())
    }
}
