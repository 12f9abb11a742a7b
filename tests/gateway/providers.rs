//! Access tokens of identity providers: the shape that each provider documents is accepted under its profile, and
//! every one-fault variant is refused with the reason that fits.

mod shapes;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::config::OutsideIssuer;
use portcullis::domain::claim_names::{Names, Profile};
use portcullis::snapshot::{AppRecord, Change, RevocationRecord, Snapshot, SourceRecord};
use serde_json::{Value, json};

use self::shapes::{Shape, auth0_classic, entra_v2, google, okta, shapes};
use crate::forge;
use crate::forge::{Forge, NOW, SCOPE};
use crate::gateway::{ENFORCED, FORGE, Http, OTHER, Setup, TestGateway, snapshot};
use crate::key_server::KeyServer;
use crate::scratch::Scratch;
use crate::upstream::StubUpstream;

const AUDIENCE: &str = "https://events.example.test";

/// `object` with these members put in or, where they are `null`, taken out.
fn with(object: &Value, changes: &Value) -> Value {
    let mut members = object.as_object().unwrap().clone();
    members.extend(changes.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    members.into()
}

impl Shape {
    fn token(&self, header: &Value, claims: &Value) -> String {
        self.token_by(&FORGE, header, claims)
    }

    fn token_by(&self, forge: &Forge, header: &Value, claims: &Value) -> String {
        forge.sign(&with(&self.header, header), &with(&self.claims, claims))
    }

    fn good(&self) -> String {
        self.token(&json!({}), &json!({}))
    }

    fn issuer(&self, keys: &KeyServer) -> OutsideIssuer {
        let mut claims = self.profile.claims();
        if self.scope_of_app {
            claims.scope = None;
        }
        OutsideIssuer {
            types: self.profile.types(),
            claims,
            audiences: vec![AUDIENCE.to_owned()],
            ..keys.issuer(self.issuer)
        }
    }

    /// The app of the shape is connected to the enforced source, and another app to the other one.
    fn policy(&self) -> Snapshot {
        let own = snapshot();
        let app = |id: &str| AppRecord {
            id: id.to_owned(),
            issuer: self.issuer.to_owned(),
            keys: None,
            ..own.apps[ENFORCED].clone()
        };
        let source = |number: usize, id: &str| SourceRecord {
            app: Some(id.to_owned()),
            ..own.sources[number].clone()
        };
        Snapshot {
            apps: vec![app(self.app.1), app("another-app")],
            sources: vec![source(ENFORCED, self.app.1), source(OTHER, "another-app")],
            ..own.clone()
        }
    }

    async fn start(&self, upstream: &StubUpstream, keys: &KeyServer) -> TestGateway {
        let mut setup = Setup::new(upstream);
        setup.issuers = vec![self.issuer(keys)];
        setup.snapshot = Some(self.policy());
        setup.start().await
    }

    /// Every way to get one thing wrong, and the reason that fits.
    fn faults(&self) -> Vec<(&'static str, String, &'static str)> {
        let none = json!({});
        let by_claims = |what, claims: Value, reason| (what, self.token(&none, &claims), reason);
        let app = self.app.0;
        let mut faults = vec![
            by_claims(
                "app of another source",
                json!({app: "another-app"}),
                "app_not_connected",
            ),
            by_claims("unknown app", json!({app: "nobody"}), "app_unknown"),
            by_claims(
                "no app",
                json!({"azp": null, "appid": null, "client_id": null, "cid": null}),
                "token_malformed",
            ),
            by_claims("app is a list", json!({app: [self.app.1]}), "token_malformed"),
            by_claims(
                "another tenant",
                json!({"iss": "https://evil.example.com/"}),
                "token_issuer_untrusted",
            ),
            by_claims(
                "issuer with a slash more",
                json!({"iss": format!("{}/", self.issuer)}),
                "token_issuer_untrusted",
            ),
            by_claims("no issuer", json!({"iss": null}), "token_malformed"),
            by_claims("expired", json!({"exp": NOW.0 - 1}), "token_expired"),
            by_claims("no expiry", json!({"exp": null}), "token_malformed"),
            by_claims("no date of issue", json!({"iat": null}), "token_malformed"),
            by_claims(
                "not yet valid",
                json!({"nbf": NOW.0 + 600}),
                "token_not_yet_valid",
            ),
            by_claims(
                "issued in the future",
                json!({"iat": NOW.0 + 600}),
                "token_not_yet_valid",
            ),
            by_claims("bound to a key", json!({"cnf": {"jkt": "x"}}), "proof_missing"),
        ];
        faults.extend(self.faults_of_header_and_signature());
        if self.claims.get("aud").is_some() {
            faults.extend([
                by_claims(
                    "another audience",
                    json!({"aud": "https://other.example.test"}),
                    "token_audience_mismatch",
                ),
                by_claims("no audience", json!({"aud": null}), "token_malformed"),
            ]);
        }
        if !self.without_scope.is_null() {
            let scope = self.without_scope.as_object().unwrap().keys().next().unwrap();
            faults.extend([
                by_claims("another scope", self.without_scope.clone(), "scope_insufficient"),
                by_claims("no scope", json!({scope.as_str(): null}), "scope_insufficient"),
            ]);
        }
        for (what, header, claims, reason) in &self.faults {
            faults.push((what, self.token(header, claims), reason));
        }
        faults
    }

    fn faults_of_header_and_signature(&self) -> Vec<(&'static str, String, &'static str)> {
        let none = json!({});
        let by_header = |what, header: Value, reason| (what, self.token(&header, &none), reason);
        vec![
            by_header("wrong typ", json!({"typ": "dpop+jwt"}), "token_type_wrong"),
            by_header("logout token", json!({"typ": "logout+jwt"}), "token_type_wrong"),
            by_header("unknown key", json!({"kid": "unknown"}), "token_key_unknown"),
            by_header("alg none", json!({"alg": "none"}), "token_malformed"),
            by_header("alg HS256", json!({"alg": "HS256"}), "token_malformed"),
            by_header(
                "alg of another key",
                json!({"alg": "ES256"}),
                "token_signature_invalid",
            ),
            by_header("critical extension", json!({"crit": ["exp"]}), "token_malformed"),
            (
                "wrong key",
                self.token_by(&Forge::new(), &none, &none),
                "token_signature_invalid",
            ),
            (
                "changed payload",
                changed(&self.good(), &with(&self.claims, &none)),
                "token_signature_invalid",
            ),
        ]
    }
}

/// The token with a later expiry under the signature that it had.
fn changed(token: &str, claims: &Value) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let later = with(claims, &json!({"exp": NOW.0 + 999_999}));
    parts[1] = URL_SAFE_NO_PAD.encode(later.to_string());
    parts.join(".")
}

#[tokio::test]
async fn documented_token_of_every_provider_is_accepted() {
    for shape in shapes() {
        let (upstream, keys) = (StubUpstream::start(), KeyServer::start(&[FORGE.jwk()]));
        let gateway = shape.start(&upstream, &keys).await;
        let answer = gateway.send(&Http::batch(ENFORCED).bearer(&shape.good())).await;
        assert_eq!(answer.status, 200, "{}: {answer:?}", shape.name);
        let seen = upstream.only();
        assert_eq!(seen.one("X-Portcullis-App-Id"), shape.app.1, "{}", shape.name);
        let scopes = seen.one("X-Portcullis-Scope");
        assert!(
            scopes.split(' ').any(|scope| scope == SCOPE),
            "{}: {scopes}",
            shape.name
        );
    }
}

#[tokio::test]
async fn one_fault_in_a_provider_token_is_refused() {
    for shape in shapes() {
        let (upstream, keys) = (StubUpstream::start(), KeyServer::start(&[FORGE.jwk()]));
        let gateway = shape.start(&upstream, &keys).await;
        let faults = shape.faults();
        assert!(faults.len() >= 20, "{}: {}", shape.name, faults.len());
        for (what, token, reason) in faults {
            let answer = gateway.send(&Http::batch(ENFORCED).bearer(&token)).await;
            let (status, found) = answer.verdict();
            assert_eq!(found, reason, "{}: {what}", shape.name);
            let expected = match reason {
                "app_not_connected" | "scope_insufficient" => 403,
                _ => 401,
            };
            assert_eq!(status, expected, "{}: {what}", shape.name);
        }
        upstream.assert_untouched();
        // Nothing of all that was kept against the good one.
        let answer = gateway.send(&Http::batch(ENFORCED).bearer(&shape.good())).await;
        assert_eq!(answer.status, 200, "{}: {answer:?}", shape.name);
    }
}

#[tokio::test]
async fn provider_tokens_need_their_profile() {
    for shape in shapes()
        .into_iter()
        .filter(|shape| shape.profile != Profile::Rfc9068)
    {
        if shape.header.get("typ") == Some(&json!("at+jwt")) {
            continue;
        }
        let (upstream, keys) = (StubUpstream::start(), KeyServer::start(&[FORGE.jwk()]));
        let mut setup = Setup::new(&upstream);
        let default = Profile::default();
        setup.issuers = vec![OutsideIssuer {
            types: default.types(),
            claims: default.claims(),
            ..shape.issuer(&keys)
        }];
        setup.snapshot = Some(shape.policy());
        let gateway = setup.start().await;
        let answer = gateway.send(&Http::batch(ENFORCED).bearer(&shape.good())).await;
        answer.assert_denied(401, "token_type_wrong");
        upstream.assert_untouched();
    }
}

#[tokio::test]
async fn google_without_scope_setting_is_refused() {
    let (upstream, keys) = (StubUpstream::start(), KeyServer::start(&[FORGE.jwk()]));
    let mut shape = google();
    shape.scope_of_app = false;
    let gateway = shape.start(&upstream, &keys).await;
    let answer = gateway.send(&Http::batch(ENFORCED).bearer(&shape.good())).await;
    answer.assert_denied(403, "scope_insufficient");
}

#[tokio::test]
async fn configured_claim_names_are_tried_in_order() {
    let (upstream, keys) = (StubUpstream::start(), KeyServer::start(&[FORGE.jwk()]));
    let shape = auth0_classic();
    let mut issuer = shape.issuer(&keys);
    issuer.claims.app = Names::of(&["https://example.test/app", "azp"]);
    let mut setup = Setup::new(&upstream);
    setup.issuers = vec![issuer];
    setup.snapshot = Some(shape.policy());
    let gateway = setup.start().await;
    for (claims, verdict) in [
        (json!({}), (200, "")),
        (
            json!({"https://example.test/app": shape.app.1, "azp": "nobody"}),
            (200, ""),
        ),
        (
            json!({"https://example.test/app": "nobody"}),
            (401, "app_unknown"),
        ),
    ] {
        let token = shape.token(&json!({}), &claims);
        let answer = gateway.send(&Http::batch(ENFORCED).bearer(&token)).await;
        assert_eq!(answer.verdict(), (verdict.0, verdict.1.to_owned()), "{claims}");
    }
}

/// The whole token, or a policy in which it is revoked.
async fn assert_revoked_by(shape: &Shape, token_id: &str) {
    let (upstream, keys) = (StubUpstream::start(), KeyServer::start(&[FORGE.jwk()]));
    let gateway = shape.start(&upstream, &keys).await;
    let request = Http::batch(ENFORCED).bearer(&shape.good());
    gateway.send(&request).await.assert_ok();
    let revocation = RevocationRecord {
        issuer: shape.issuer.to_owned(),
        token_id: token_id.to_owned(),
        expires_at: NOW.0 + 86_400,
    };
    gateway.change(2, vec![Change::Revoke(revocation)]).await;
    gateway.send(&request).await.assert_denied(401, "token_revoked");
    let other = shape.token(
        &json!({}),
        &json!({"exp": NOW.0 + 77, "jti": "other", "uti": "other"}),
    );
    gateway
        .send(&Http::batch(ENFORCED).bearer(&other))
        .await
        .assert_ok();
}

#[tokio::test]
async fn provider_token_is_revoked_by_its_id() {
    assert_revoked_by(&okta(), "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE").await;
    assert_revoked_by(&entra_v2(), "nBzKXUW7IkaAhCXAhG8DAA").await;
}

#[tokio::test]
async fn pasted_token_is_revoked_by_a_policy_file() {
    for shape in [auth0_classic(), google(), okta(), entra_v2()] {
        let (upstream, keys) = (StubUpstream::start(), KeyServer::start(&[FORGE.jwk()]));
        let folder = Scratch::new();
        let write = |revoked: &str| folder.write("policy.yaml", &policy_file(&shape, revoked));
        let path = write("[]");
        let mut setup = Setup::new(&upstream);
        setup.issuers = vec![shape.issuer(&keys)];
        let gateway = setup.start_on_file(Path::new(&path)).await.unwrap();
        let good = Http::batch(ENFORCED).bearer(&shape.good());
        gateway.send(&good).await.assert_ok();
        write(&format!("[{{token: \"{}\"}}]", shape.good()));
        let revoked =
            async { while gateway.send(&good).await.verdict() != (401, "token_revoked".to_owned()) {} };
        crate::wait::within("the pasted token was revoked", revoked).await;
        let other = shape.token(
            &json!({}),
            &json!({"exp": NOW.0 + 77, "jti": "other", "uti": "other"}),
        );
        gateway
            .send(&Http::batch(ENFORCED).bearer(&other))
            .await
            .assert_ok();
    }
}

fn policy_file(shape: &Shape, revoked: &str) -> String {
    format!(
        "apps: [{{id: \"{app}\", workspace: ws-1, scopes: [\"{SCOPE}\"]}}]\n\
         sources: [{{id: src-1, workspace: ws-1, write_key: \"{key}\", app: \"{app}\", enforcement: \"on\"}}]\n\
         revoked: {revoked}\n",
        app = shape.app.1,
        key = forge::write_key(ENFORCED),
    )
}
