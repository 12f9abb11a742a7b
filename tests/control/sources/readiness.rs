//! Whether a source is ready to enforce: only requests that the present rules judged count.

use portcullis::report::{Count, Verdict};
use serde_json::{Value, json};

use super::traffic::Gateway;
use crate::support::{TempDir, Tenant, TestApp, TestControl, TestKey};

/// A source of a control plane, and the gateway that reports its requests.
struct Observed<'s> {
    dir: &'s TempDir,
    server: &'s TestControl,
    tenant: &'s Tenant<'s>,
    source: String,
}

impl<'s> Observed<'s> {
    async fn new(dir: &'s TempDir, server: &'s TestControl, tenant: &'s Tenant<'s>) -> Self {
        let source = tenant.source("nodejs").await;
        Self {
            dir,
            server,
            tenant,
            source: source.id.as_str().to_owned(),
        }
    }

    async fn put(&self, what: &str, body: Value) {
        let path = format!("/sources/{}/{what}", self.source);
        let answer = self.tenant.call("PUT", &path, Some(body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    async fn connect(&self, app: &TestApp<'_>) {
        self.put("app", json!({"app_id": app.id()})).await;
    }

    async fn mode(&self, mode: &str) {
        self.put("enforcement", json!({"mode": mode})).await;
    }

    /// Gives an app one scope, or two.
    async fn widen(&self, app: &TestApp<'_>, wide: bool) {
        let mut scopes = vec!["tracking_api:write"];
        scopes.extend(wide.then_some("functions:write"));
        let path = format!("/apps/{}", app.id());
        let body = json!({"scopes": scopes});
        assert_eq!(self.tenant.call("PATCH", &path, Some(body)).await.status, 200);
    }

    async fn restart(&self) {
        let path = format!("/sources/{}/traffic/restart", self.source);
        assert_eq!(self.tenant.call("POST", &path, None).await.status, 204);
    }

    async fn version(&self) -> u64 {
        let mut sql = self.dir.sql().await;
        let version: i64 = sqlx::query_scalar("SELECT version FROM policy_version")
            .fetch_one(&mut sql)
            .await
            .unwrap();
        u64::try_from(version).unwrap()
    }

    /// Reports requests that the policy of this version judged.
    async fn report_of(&self, version: u64, verdict: Verdict, requests: u64) {
        let gateway = Gateway::attach(self.server);
        let denied = verdict != Verdict::Allow;
        let text = |text: &str| if denied { text } else { "" }.to_owned();
        gateway
            .report(vec![Count {
                source: self.source.clone(),
                policy_version: version,
                verdict,
                reason: text("token_missing"),
                agent: text("tool/1"),
                address: text("192.0.2.7"),
                requests,
            }])
            .await;
        gateway.end().await;
    }

    async fn report(&self, verdict: Verdict, requests: u64) {
        self.report_of(self.version().await, verdict, requests).await;
    }

    async fn traffic(&self) -> Value {
        let path = format!("/sources/{}/traffic", self.source);
        self.tenant.call("GET", &path, None).await.json()
    }

    /// `judged`, `would_deny`, `unjudged` and `ready_to_enforce`.
    async fn says(&self) -> (u64, u64, u64, bool) {
        let traffic = self.traffic().await;
        let number = |name: &str| traffic[name].as_u64().unwrap();
        let ready = traffic["ready_to_enforce"].as_bool().unwrap();
        (number("judged"), number("would_deny"), number("unjudged"), ready)
    }
}

#[tokio::test]
async fn requests_while_off_do_not_make_a_source_ready() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let source = Observed::new(&dir, &server, &tenant).await;
    source.report(Verdict::Allow, 7).await;
    assert_eq!(source.says().await, (0, 0, 7, false));
    assert_eq!(source.traffic().await["observing_since"], Value::Null);
    source.connect(&tenant.app().await).await;
    assert_eq!(source.says().await, (0, 0, 7, false));
    source.mode("observe").await;
    assert_eq!(source.says().await, (0, 0, 0, false), "nothing was observed yet");
    assert!(source.traffic().await["observing_since"].is_string());
    source.report(Verdict::Allow, 2).await;
    assert_eq!(source.says().await, (2, 0, 0, true));
    source.report(Verdict::WouldDeny, 1).await;
    assert_eq!(source.says().await, (3, 1, 0, false));
    source.mode("off").await;
    assert_eq!(source.says().await, (0, 0, 10, false));
    source.mode("observe").await;
    assert_eq!(source.says().await, (0, 0, 0, false));
    server.stop().await;
}

#[tokio::test]
async fn denials_while_enforced_count_against_readiness() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let source = Observed::new(&dir, &server, &tenant).await;
    source.connect(&tenant.app().await).await;
    source.mode("on").await;
    source.report(Verdict::Allow, 12).await;
    source.report(Verdict::Deny, 8).await;
    assert_eq!(source.says().await, (20, 8, 0, false));
    source.mode("observe").await;
    assert_eq!(source.says().await, (0, 0, 0, false));
    source.report(Verdict::Allow, 1).await;
    assert_eq!(source.says().await, (1, 0, 0, true));
    server.stop().await;
}

#[tokio::test]
async fn every_change_of_the_rules_starts_the_count_again() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let source = Observed::new(&dir, &server, &tenant).await;
    let (first, second) = (tenant.app().await, tenant.app().await);
    source.connect(&first).await;
    source.mode("observe").await;
    let observed = async |what: &str| {
        assert!(!source.says().await.3, "{what}");
        source.report(Verdict::Allow, 5).await;
        assert_eq!(source.says().await, (5, 0, 0, true), "{what}");
    };
    observed("observed").await;
    source.connect(&second).await;
    observed("another app").await;
    source.connect(&first).await;
    observed("the first app again").await;
    let app = format!("/apps/{}", first.id());
    let key = TestKey::p256();
    let body = json!({"name": "second", "pem": key.public_pem});
    let added = tenant.call("POST", &format!("{app}/keys"), Some(body)).await;
    assert_eq!(added.status, 201, "{added:?}");
    observed("a key added").await;
    let path = format!("{app}/keys/{}", added.json()["id"].as_str().unwrap());
    assert_eq!(tenant.call("DELETE", &path, None).await.status, 204);
    observed("a key deleted").await;
    let scopes = json!({"scopes": ["tracking_api:write", "functions:write"]});
    assert_eq!(tenant.call("PATCH", &app, Some(scopes)).await.status, 200);
    observed("a scope added").await;
    let scopes = json!({"scopes": ["functions:write"]});
    assert_eq!(tenant.call("PATCH", &app, Some(scopes)).await.status, 200);
    observed("a scope removed").await;
    source.restart().await;
    observed("counted from now").await;

    // What says nothing about tokens changes nothing.
    let name = json!({"name": "renamed", "token_lifetime": "2d"});
    assert_eq!(tenant.call("PATCH", &app, Some(name.clone())).await.status, 200);
    let path = format!("/sources/{}", source.source);
    let renamed = tenant
        .call("PATCH", &path, Some(json!({"name": "renamed"})))
        .await;
    assert_eq!(renamed.status, 200);
    source.mode("observe").await;
    assert_eq!(source.says().await, (5, 0, 0, true));
    server.stop().await;
}

#[tokio::test]
async fn late_reports_of_earlier_rules_are_not_judged() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let source = Observed::new(&dir, &server, &tenant).await;
    source.report(Verdict::Allow, 1).await;
    source.connect(&tenant.app().await).await;
    let before = source.version().await;
    source.mode("observe").await;
    source.report_of(before, Verdict::Allow, 9).await;
    let (judged, would_deny, _, ready) = source.says().await;
    assert_eq!((judged, would_deny, ready), (0, 0, false));
    // The policy goes on for other reasons.
    let others = tenant.source("python").await;
    assert!(source.version().await > before + 1, "{}", others.id);
    source.report(Verdict::Allow, 4).await;
    assert_eq!(source.says().await.0, 4);
    server.stop().await;
}

/// A fixed sequence of numbers (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Random changes and requests, against a model that forgets everything at each change of the rules.
#[tokio::test]
async fn readiness_agrees_with_a_model_of_the_rules() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let source = Observed::new(&dir, &server, &tenant).await;
    let apps = [tenant.app().await, tenant.app().await];
    let mut numbers = Numbers(0x5eed);
    let (mut connected, mut mode, mut wide) = (0, "off", [false; 2]);
    source.connect(&apps[0]).await;
    let (mut judged, mut denied) = (0, 0);
    let mut version_before = source.version().await;
    for step in 0..150 {
        let mut changed = false;
        match numbers.below(8) {
            0 => {
                let next = ["off", "observe", "on"][usize::try_from(numbers.below(3)).unwrap()];
                let before = source.version().await;
                source.mode(next).await;
                if next != mode {
                    (changed, version_before, mode) = (true, before, next);
                }
            }
            1 => {
                let next = usize::try_from(numbers.below(2)).unwrap();
                let before = source.version().await;
                source.connect(&apps[next]).await;
                if next != connected {
                    (changed, version_before, connected) = (true, before, next);
                }
            }
            2 => {
                let which = usize::try_from(numbers.below(2)).unwrap();
                wide[which] = !wide[which];
                let before = source.version().await;
                source.widen(&apps[which], wide[which]).await;
                if which == connected {
                    (changed, version_before) = (true, before);
                }
            }
            3 => source.report_of(version_before, Verdict::Allow, 3).await,
            4 => {
                let verdict = match mode {
                    "off" => Verdict::Allow,
                    "observe" => Verdict::WouldDeny,
                    _ => Verdict::Deny,
                };
                source.report(verdict, 1).await;
                if mode != "off" {
                    (judged, denied) = (judged + 1, denied + 1);
                }
            }
            _ => {
                source.report(Verdict::Allow, 2).await;
                judged += if mode == "off" { 0 } else { 2 };
            }
        }
        if changed {
            (judged, denied) = (0, 0);
        }
        let ready = mode != "off" && judged > 0 && denied == 0;
        let (found, found_denied, _, found_ready) = source.says().await;
        assert_eq!(
            (found, found_denied, found_ready),
            (judged, denied, ready),
            "step {step}, {mode}"
        );
    }
    server.stop().await;
}
