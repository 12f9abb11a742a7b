//! An owner with a password, and the sessions they open.

use std::net::IpAddr;

use portcullis::control::ControlError;
use portcullis::control::accounts::secret::Secret;
use portcullis::control::accounts::sessions::{Browser, SignedIn};
use portcullis::model::member::Member;
use serde_json::{Value, json};

use crate::support::{Answer, TempDir, TestControl};

pub const EMAIL: &str = "ada@example.com";

/// A server, an owner of a workspace on it, and the password they were given.
pub struct World {
    pub server: TestControl,
    pub owner: Member,
    pub password: String,
    pub _dir: TempDir,
}

impl World {
    pub async fn start() -> Self {
        let dir = TempDir::new();
        let server = TestControl::start(&dir).await;
        let (owner, password) = server.owner_with_password(EMAIL).await;
        Self {
            password,
            server,
            owner,
            _dir: dir,
        }
    }

    pub async fn post_session(&self, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let mut all = vec![("Content-Type", "application/json")];
        all.extend(headers);
        self.server
            .send("POST", "/api/v1/session", &all, body.to_string().as_bytes())
            .await
    }

    pub async fn signed_in(&self) -> Session<'_> {
        let answer = self
            .post_session(&json!({"email": EMAIL, "password": self.password}), &[])
            .await;
        Session::of(&self.server, &answer)
    }

    pub async fn try_from(&self, email: &str, password: &str, from: &str) -> Result<SignedIn, ControlError> {
        self.server
            .control
            .sessions
            .sign_in(email, password, &browser(from, None))
            .await
    }
}

pub fn browser(from: &str, known_by: Option<Secret>) -> Browser {
    Browser {
        address: from.parse::<IpAddr>().unwrap(),
        user_agent: "test".to_owned(),
        known_by,
    }
}

/// A session as a browser holds it.
pub struct Session<'s> {
    pub server: &'s TestControl,
    pub cookie: String,
    pub csrf: String,
    pub id: String,
}

impl<'s> Session<'s> {
    #[track_caller]
    pub fn of(server: &'s TestControl, answer: &Answer) -> Self {
        assert_eq!(answer.status, 201, "{answer:?}");
        let set = answer.all("set-cookie");
        let session = set
            .iter()
            .find(|value| value.starts_with("__Host-portcullis="))
            .unwrap();
        Self {
            server,
            cookie: session.split(';').next().unwrap().to_owned(),
            csrf: answer.json()["csrf_token"].as_str().unwrap().to_owned(),
            id: answer.json()["id"].as_str().unwrap().to_owned(),
        }
    }

    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut all = vec![
            ("Cookie", self.cookie.as_str()),
            ("Content-Type", "application/json"),
        ];
        all.extend(headers);
        let target = format!("/api/v1{path}");
        self.server.send(method, &target, &all, body.as_bytes()).await
    }

    pub async fn is_live(&self) -> bool {
        let answer = self.call("GET", "/session", &[], "").await;
        assert!([200, 401].contains(&answer.status), "{answer:?}");
        answer.status == 200
    }
}

pub const SAME_ORIGIN: (&str, &str) = ("Sec-Fetch-Site", "same-origin");
