//! The log line of each rejected client request: it has the real cause, which the response hides.

use std::io;
use std::sync::{Arc, Mutex};

use portcullis::domain::key::Algorithm;
use serde_json::{Value, json};

use crate::support::{Answer, NOW, TempDir, TestControl, TestKey, listen_on_all_threads};

/// What was logged, one JSON object a line.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logs {
    /// Lines at level info and above, from now on. The guard ends it.
    fn begin(&self) -> tracing::subscriber::DefaultGuard {
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || writer.clone())
            .finish();
        listen_on_all_threads();
        tracing::subscriber::set_default(subscriber)
    }

    /// The lines with this message, and none of them afterwards.
    fn take(&self, message: &str) -> Vec<Value> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|line: &Value| line["message"] == message).collect()
    }
}

#[tokio::test]
async fn rejected_token_request_is_logged_with_its_cause() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let (app, other) = (tenant.app().await, tenant.app().await);
    let logs = Logs::default();
    let _guard = logs.begin();
    let header = |name: &str, value: &str| {
        let mut header = app.header();
        header[name] = json!(value);
        header
    };
    let claims = |name: &str, value: Value| app.claims_with(name, value);
    let unknown_app = "app_00000000000000000000000000000000";
    let rsa = TestKey::rsa(Algorithm::Rs256);
    let used = app.assertion();
    assert_eq!(server.ask(&used, "").await.status, 200);
    let cases = [
        (
            "unknown_app",
            app.key.sign(&app.header(), &claims("sub", json!(unknown_app))),
        ),
        (
            "unknown_key",
            app.key.sign(&header("kid", "key_x"), &app.claims()),
        ),
        ("signature", other.key.sign(&app.header(), &app.claims())),
        ("algorithm", rsa.sign(&header("alg", "RS256"), &app.claims())),
        (
            "audience",
            app.assertion_with("aud", json!("https://elsewhere.test")),
        ),
        ("expired", app.assertion_with("exp", json!(NOW - 60))),
        ("not_yet_valid", app.assertion_with("nbf", json!(NOW + 60))),
        ("lifetime", app.assertion_with("exp", json!(NOW + 9_000))),
        (
            "assertion_claims",
            app.assertion_with("iss", json!("https://x.test")),
        ),
        ("assertion_dates", app.assertion_with("exp", json!(1))),
        ("replayed", used),
    ];
    let mut unproven: Vec<Answer> = Vec::new();
    for (cause, assertion) in cases {
        logs.take("");
        let answer = server.ask(&assertion, "").await;
        assert!([400, 401].contains(&answer.status), "{cause} {answer:?}");
        let lines = logs.take("client request rejected");
        let [line] = lines.as_slice() else {
            panic!("{cause}: {lines:?}")
        };
        assert_eq!(
            (&line["cause"], &line["endpoint"]),
            (&json!(cause), &json!("token"))
        );
        assert_eq!(line["status"], answer.status);
        assert_eq!(line["client"], "127.0.0.1");
        let (app_id, key_id) = match cause {
            "unknown_app" => (unknown_app, app.key_id.as_str()),
            "unknown_key" => (app.id(), "key_x"),
            _ => (app.id(), app.key_id.as_str()),
        };
        assert_eq!(
            (&line["app_id"], &line["key_id"]),
            (&json!(app_id), &json!(key_id))
        );
        if ["unknown_app", "unknown_key", "signature", "algorithm"].contains(&cause) {
            unproven.push(answer);
        }
    }
    assert!(unproven.iter().all(|answer| answer.body == unproven[0].body));
}

#[tokio::test]
async fn issued_token_is_logged_with_app_and_key() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let logs = Logs::default();
    let _guard = logs.begin();
    let token = app.token().await;
    let lines = logs.take("token issued");
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["app_id"], app.id());
    assert_eq!(lines[0]["key_id"], app.key_id);
    assert_eq!(lines[0]["scope"], "tracking_api:write");
    assert_eq!(lines[0]["expires_in_s"], 86_400);
    assert!(!lines[0].to_string().contains(&token));
}

#[tokio::test]
async fn rejections_at_revoke_and_introspect_are_logged() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let logs = Logs::default();
    let _guard = logs.begin();
    for endpoint in ["revoke", "introspect"] {
        let forged = TestKey::p256().sign(&app.header(), &app.claims());
        let form = format!("{}&token=x", crate::support::form(&forged, ""));
        let answer = server.post_token(&format!("/{endpoint}"), &form).await;
        assert_eq!(answer.status, 401);
        let lines = logs.take("client request rejected");
        assert_eq!(lines.len(), 1);
        assert_eq!(
            (&lines[0]["endpoint"], &lines[0]["cause"], &lines[0]["app_id"]),
            (&json!(endpoint), &json!("signature"), &json!(app.id()))
        );
    }
}

#[tokio::test]
async fn rejected_request_cannot_forge_a_log_line() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let app = server.workspace().await;
    let app = app.app().await;
    let logs = Logs::default();
    let _guard = logs.begin();
    let line = "x%0AINFO%20forged%1B%5B2K%E2%80%AE";
    let good = crate::support::form(&app.assertion(), "");
    for (form, cause) in [
        (format!("{line}=1&{line}=2"), "request_malformed"),
        (format!("{good}&resource={line}"), "resource"),
    ] {
        let answer = server.post_token("/token", &form).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        let lines = logs.take("client request rejected");
        assert_eq!((lines.len(), &lines[0]["cause"]), (1, &json!(cause)));
        let error = lines[0]["error"].as_str().unwrap();
        assert!(error.contains("forged"), "{error}");
        assert!(
            error.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{error:?}"
        );
    }
}
