//! A flood of sign-ins from many networks does not lock out known people.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use portcullis::config::{ControlLimits, Rate};
use portcullis::domain::network::Network;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{Answer, DEADLINE, TempDir, TestControl, send_to};

const OWNER: &str = "owner@example.com";

/// Requests that the flood has open at one moment: more than can wait for a hash.
const FLOOD: usize = 96;

async fn start(dir: &TempDir, limits: ControlLimits) -> TestControl {
    TestControl::start_with(dir, |settings| {
        settings.limits = limits;
        settings.trusted_proxies = vec![Network::parse("127.0.0.0/8").unwrap()];
    })
    .await
}

/// An owner's password.
async fn owner(server: &TestControl) -> String {
    server.owner_with_password(OWNER).await.1
}

async fn sign_in(server: &TestControl, from: &str, cookie: &str, body: &Value) -> Answer {
    let headers = [
        ("Content-Type", "application/json"),
        ("X-Forwarded-For", from),
        ("Cookie", cookie),
    ];
    server
        .send("POST", "/api/v1/session", &headers, body.to_string().as_bytes())
        .await
}

/// Strangers who sign in as fast as they can, each time for another address, from a network nobody has seen.
struct Flood {
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Flood {
    fn start(server: &TestControl) -> Self {
        let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let sent = Arc::new(AtomicUsize::new(0));
        let task = |_| {
            let (stop, refused, sent) = (Arc::clone(&stop), Arc::clone(&refused), Arc::clone(&sent));
            let address = server.address;
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let at = sent.fetch_add(1, Ordering::Relaxed);
                    // A new /48 each time, of one of four providers.
                    let from = format!("2001:db{:x}:{:x}::1", at % 4, at / 4);
                    let body = json!({"email": format!("nobody-{at}@example.com"), "password": "a guess"});
                    let headers = [("Content-Type", "application/json"), ("X-Forwarded-For", &from)];
                    let body = body.to_string();
                    let answer = send_to(address, "POST", "/api/v1/session", &headers, body.as_bytes()).await;
                    assert!([401, 429].contains(&answer.status), "{answer:?}");
                    if answer.status == 429 {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        };
        let tasks = (0..FLOOD).map(task).collect();
        Self { stop, refused, tasks }
    }

    /// Waits until so many more were refused: there is no place left.
    async fn is_full(&self) {
        let before = self.refused.load(Ordering::Relaxed);
        let full = async {
            while self.refused.load(Ordering::Relaxed) < before + 8 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, full).await.unwrap();
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

#[tokio::test]
async fn owner_signs_in_during_a_sign_in_flood() {
    let dir = TempDir::new();
    let server = start(&dir, ControlLimits::default()).await;
    let body = json!({"email": OWNER, "password": owner(&server).await});
    let opened = sign_in(&server, "192.0.2.1", "", &body).await;
    let cookies = opened.all("set-cookie");
    let known = cookies
        .iter()
        .find(|cookie| cookie.starts_with("__Host-portcullis-browser="))
        .and_then(|cookie| cookie.split(';').next())
        .unwrap();

    let flood = Flood::start(&server);
    for _ in 0..4 {
        flood.is_full().await;
        // Even from a network that the flood comes from.
        let answer = sign_in(&server, "2001:db1:1::1", known, &body).await;
        assert_eq!(answer.status, 201, "a known browser: {answer:?}");
    }
    for from in ["203.0.113.9", "2001:db8::9"] {
        flood.is_full().await;
        let answer = sign_in(&server, from, "", &body).await;
        assert_eq!(
            answer.status, 201,
            "a new browser from a quiet network: {answer:?}"
        );
    }
    flood.is_full().await;
    flood.end().await;
}

#[tokio::test]
async fn sign_in_limit_counts_a_48_network() {
    let dir = TempDir::new();
    let rate = Rate {
        burst: 16,
        per_second: 1,
    };
    let server = start(
        &dir,
        ControlLimits {
            api_address: rate,
            token_address: rate,
            ..ControlLimits::default()
        },
    )
    .await;
    let api = async |from: &str| {
        let headers = [("Authorization", "Bearer pcl_wrong"), ("X-Forwarded-For", from)];
        let answer = server.send("GET", "/api/v1/workspaces", &headers, b"").await;
        answer.status
    };
    let token = async |from: &str| {
        let headers = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("X-Forwarded-For", from),
        ];
        let answer = server
            .send("POST", "/token", &headers, b"client_assertion=x")
            .await;
        answer.status
    };
    let mut refused = [0, 0];
    for at in 0..300 {
        // Each from a /64 of its own, and those in many /56.
        let from = format!("2001:db8:1:{:x}::1", at * 200);
        refused[0] += usize::from(api(&from).await == 429);
        refused[1] += usize::from(token(&from).await == 429);
    }
    assert_eq!(refused, [300 - 256; 2]);
    for from in ["2001:db8:2::1", "192.0.2.1"] {
        assert_eq!(api(from).await, 401, "{from}");
        assert_ne!(token(from).await, 429, "{from}");
    }
}

#[tokio::test]
async fn too_many_failed_sign_ins_get_429() {
    let dir = TempDir::new();
    let server = start(&dir, ControlLimits::default()).await;
    let body = json!({"email": OWNER, "password": "a guess"});
    for _ in 0..10 {
        assert_eq!(sign_in(&server, "192.0.2.1", "", &body).await.status, 401);
    }
    let answer = sign_in(&server, "192.0.2.1", "", &body).await;
    assert_eq!(
        (
            answer.status,
            answer.problem().as_str(),
            answer.header("retry-after")
        ),
        (429, "too-many-requests", Some("60"))
    );
    assert_eq!(
        answer.json()["detail"],
        "too many failed attempts; try again in 60 seconds"
    );
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("X-Forwarded-For", "192.0.2.1"),
    ];
    let form = b"email=owner%40example.com&password=a+guess";
    let page = server.send("POST", "/console/sign-in", &headers, form).await;
    assert_eq!(page.status, 429);
    let text = String::from_utf8_lossy(&page.body).into_owned();
    assert!(
        text.contains("Too many failed attempts. Try again in 60 seconds."),
        "{text}"
    );
}
