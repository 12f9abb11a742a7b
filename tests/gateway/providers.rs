//! Access tokens of identity providers: the shape that each provider documents is accepted under its profile, and
//! every one-fault variant is refused with the reason that fits.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::config::OutsideIssuer;
use portcullis::domain::claim_names::{Names, Profile};
use portcullis::snapshot::{AppRecord, Change, RevocationRecord, Snapshot, SourceRecord};
use serde_json::{Value, json};

use crate::forge::{self, Forge, KEY_ID, NOW, SCOPE};
use crate::gateway::{ENFORCED, FORGE, Http, OTHER, Setup, TestGateway, snapshot};
use crate::key_server::KeyServer;
use crate::scratch::Scratch;
use crate::upstream::StubUpstream;

const AUDIENCE: &str = "https://events.example.test";

/// One shape of token, as its provider documents it.
struct Shape {
    name: &'static str,
    profile: Profile,
    /// The operator lets the scopes of the app count.
    scope_of_app: bool,
    issuer: &'static str,
    /// The claim and value that name the app.
    app: (&'static str, &'static str),
    header: Value,
    claims: Value,
    /// A change that makes it a token without the scope that the API needs; `null` where tokens say none.
    without_scope: Value,
    /// Further faults of this provider: what is changed in header and claims, and the reason.
    faults: Vec<(&'static str, Value, Value, &'static str)>,
}

fn header(typ: Option<&str>) -> Value {
    let mut header = json!({"alg": "RS256", "kid": KEY_ID});
    if let Some(typ) = typ {
        header["typ"] = json!(typ);
    }
    header
}

fn rfc9068() -> Shape {
    Shape {
        name: "RFC 9068",
        profile: Profile::Rfc9068,
        scope_of_app: false,
        issuer: "https://authorization-server.example.com/",
        app: ("client_id", "s6BhdRkqt3"),
        header: header(Some("at+jwt")),
        claims: json!({
            "iss": "https://authorization-server.example.com/", "sub": "s6BhdRkqt3", "client_id": "s6BhdRkqt3",
            "aud": AUDIENCE, "iat": NOW.0 - 10, "exp": NOW.0 + 3_600, "jti": "dbe39bf3a3ba4238a513f51d6e1691c4",
            "scope": SCOPE,
        }),
        without_scope: json!({"scope": "openid profile"}),
        faults: vec![
            ("ID token", json!({"typ": "JWT"}), json!({}), "token_type_wrong"),
            ("no typ", json!({"typ": null}), json!({}), "token_type_wrong"),
            ("no jti", json!({}), json!({"jti": null}), "token_malformed"),
            ("no sub", json!({}), json!({"sub": null}), "token_malformed"),
            (
                "azp in place of client_id",
                json!({}),
                json!({"client_id": null, "azp": "s6BhdRkqt3"}),
                "token_malformed",
            ),
        ],
    }
}

/// Ory Hydra: RFC 9068 with the scope as the list `scp`.
fn hydra() -> Shape {
    let mut shape = rfc9068();
    shape.name = "Ory Hydra";
    shape.claims["scope"] = Value::Null;
    shape.claims["scp"] = json!([SCOPE, "offline"]);
    shape.without_scope = json!({"scp": ["offline"]});
    shape.faults = vec![(
        "scope wins over scp",
        json!({}),
        json!({"scope": "offline"}),
        "scope_insufficient",
    )];
    shape
}

/// auth0.com/docs/secure/tokens/access-tokens/access-token-profiles, dialect `access_token`.
fn auth0_classic() -> Shape {
    Shape {
        name: "Auth0",
        profile: Profile::Auth0,
        scope_of_app: false,
        issuer: "https://tenant.eu.auth0.com/",
        app: ("azp", "my_client_id"),
        header: header(Some("JWT")),
        claims: json!({
            "iss": "https://tenant.eu.auth0.com/", "sub": "my_client_id@clients", "aud": AUDIENCE, "azp": "my_client_id",
            "iat": NOW.0 - 10, "exp": NOW.0 + 86_400, "scope": SCOPE, "gty": "client-credentials",
        }),
        without_scope: json!({"scope": "read:clients"}),
        faults: vec![
            (
                "ID token",
                json!({}),
                json!({"nonce": "crypto-value"}),
                "token_type_wrong",
            ),
            (
                "ID token of a hybrid flow",
                json!({}),
                json!({"at_hash": "77QmUPtjPfzWtF2AnpK9RQ"}),
                "token_type_wrong",
            ),
            ("no typ", json!({"typ": null}), json!({}), "token_type_wrong"),
        ],
    }
}

/// The same page, dialect `rfc9068_profile`.
fn auth0_rfc9068() -> Shape {
    let mut shape = auth0_classic();
    shape.name = "Auth0 with the RFC 9068 profile";
    shape.header = header(Some("at+jwt"));
    shape.app = ("client_id", "my_client_id");
    shape.claims["azp"] = Value::Null;
    shape.claims["client_id"] = json!("my_client_id");
    shape.claims["jti"] = json!("73WakrfVbNJBaAmhQtEeDv");
    shape.faults.clear();
    shape
}

/// developer.okta.com/docs/reference/api/oidc/#access-token-payload, a custom authorization server.
fn okta() -> Shape {
    Shape {
        name: "Okta",
        profile: Profile::Okta,
        scope_of_app: false,
        issuer: "https://example.okta.com/oauth2/default",
        app: ("cid", "nmdP1fcyvdVO11AL7ECm"),
        header: header(None),
        claims: json!({
            "ver": 1, "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
            "iss": "https://example.okta.com/oauth2/default", "aud": AUDIENCE, "sub": "nmdP1fcyvdVO11AL7ECm",
            "iat": NOW.0 - 10, "exp": NOW.0 + 3_600, "cid": "nmdP1fcyvdVO11AL7ECm", "scp": [SCOPE, "custom"],
        }),
        without_scope: json!({"scp": ["openid", "custom"]}),
        faults: vec![
            (
                "ID token",
                json!({}),
                json!({"cid": null, "scp": null, "nonce": "n"}),
                "token_type_wrong",
            ),
            (
                "ID token without nonce",
                json!({}),
                json!({"cid": null, "scp": null}),
                "token_malformed",
            ),
            ("no jti", json!({}), json!({"jti": null}), "token_malformed"),
            (
                "org server's own token",
                json!({"typ": "application/okta-internal-at+jwt"}),
                json!({}),
                "token_type_wrong",
            ),
        ],
    }
}

/// learn.microsoft.com/entra/identity-platform/access-token-claims-reference, v2.0, app-only.
fn entra_v2() -> Shape {
    const TENANT: &str = "https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee/v2.0";
    Shape {
        name: "Entra v2.0, app-only",
        profile: Profile::Entra,
        scope_of_app: false,
        issuer: TENANT,
        app: ("azp", "11112222-bbbb-3333-cccc-4444dddd5555"),
        header: header(Some("JWT")),
        claims: json!({
            "aud": AUDIENCE, "iss": TENANT, "iat": NOW.0 - 10, "nbf": NOW.0 - 10, "exp": NOW.0 + 3_600,
            "aio": "E2NgYJBMXs", "azp": "11112222-bbbb-3333-cccc-4444dddd5555", "azpacr": "1",
            "oid": "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb", "rh": "0.AX0", "roles": [SCOPE, "Orders.Read"],
            "sub": "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb", "tid": "aaaabbbb-0000-cccc-1111-dddd2222eeee",
            "uti": "nBzKXUW7IkaAhCXAhG8DAA", "ver": "2.0",
        }),
        without_scope: json!({"roles": ["Orders.Read"]}),
        faults: vec![
            (
                "ID token",
                json!({}),
                json!({"nonce": "12345"}),
                "token_type_wrong",
            ),
            (
                "ID token without nonce",
                json!({}),
                json!({"azp": null}),
                "token_malformed",
            ),
            (
                "a user's roles",
                json!({}),
                json!({"idtyp": "user"}),
                "scope_insufficient",
            ),
            (
                "a user's roles beside a scope",
                json!({}),
                json!({"scp": "User.Read"}),
                "scope_insufficient",
            ),
            (
                "one role with a space",
                json!({}),
                json!({"roles": [format!("x {SCOPE}")]}),
                "scope_insufficient",
            ),
        ],
    }
}

/// The same page, v1.0, with a delegated scope.
fn entra_v1() -> Shape {
    const TENANT: &str = "https://sts.windows.net/aaaabbbb-0000-cccc-1111-dddd2222eeee/";
    let mut shape = entra_v2();
    shape.name = "Entra v1.0, delegated";
    shape.issuer = TENANT;
    shape.app = ("appid", "11112222-bbbb-3333-cccc-4444dddd5555");
    shape.claims["iss"] = json!(TENANT);
    shape.claims["ver"] = json!("1.0");
    for gone in ["azp", "azpacr", "roles"] {
        shape.claims[gone] = Value::Null;
    }
    shape.claims["appid"] = json!("11112222-bbbb-3333-cccc-4444dddd5555");
    shape.claims["scp"] = json!(format!("User.Read {SCOPE}"));
    shape.without_scope = json!({"scp": "User.Read"});
    shape.faults.clear();
    shape
}

/// docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html
fn cognito() -> Shape {
    const POOL: &str = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_EXAMPLE";
    Shape {
        name: "Cognito",
        profile: Profile::Cognito,
        scope_of_app: false,
        issuer: POOL,
        app: ("client_id", "djc98u3jiedmi283eu928"),
        header: header(None),
        claims: json!({
            "sub": "djc98u3jiedmi283eu928", "token_use": "access", "scope": SCOPE, "auth_time": NOW.0 - 10,
            "iss": POOL, "iat": NOW.0 - 10, "exp": NOW.0 + 3_600, "version": 2,
            "jti": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "client_id": "djc98u3jiedmi283eu928",
        }),
        without_scope: json!({"scope": "aws.cognito.signin.user.admin"}),
        faults: vec![
            (
                "ID token",
                json!({}),
                json!({"token_use": "id", "aud": "djc98u3jiedmi283eu928", "client_id": null}),
                "token_type_wrong",
            ),
            (
                "no token_use",
                json!({}),
                json!({"token_use": null}),
                "token_type_wrong",
            ),
            (
                "token_use in another case",
                json!({}),
                json!({"token_use": "Access"}),
                "token_type_wrong",
            ),
            ("no jti", json!({}), json!({"jti": null}), "token_malformed"),
        ],
    }
}

/// A service account of Keycloak before 25: no `client_id`, the app is `azp`.
fn keycloak_24() -> Shape {
    const REALM: &str = "https://keycloak.example.com/realms/events";
    Shape {
        name: "Keycloak before 25",
        profile: Profile::Keycloak,
        scope_of_app: false,
        issuer: REALM,
        app: ("azp", "orders"),
        header: header(Some("JWT")),
        claims: json!({
            "exp": NOW.0 + 300, "iat": NOW.0 - 10, "jti": "b4a5a0f2-5c3d-4f2c-9f0b-0f4f4b9d3c55", "iss": REALM,
            "aud": [AUDIENCE, "account"], "sub": "f3bb6cd8-2a3a-4c3a-9b54-9a3b5c6a1c66", "typ": "Bearer", "azp": "orders",
            "acr": "1", "realm_access": {"roles": ["offline_access", "uma_authorization"]},
            "resource_access": {"account": {"roles": ["manage-account"]}}, "scope": format!("profile {SCOPE} email"),
            "clientHost": "192.0.2.1", "clientAddress": "192.0.2.1", "email_verified": false,
            "preferred_username": "service-account-orders",
        }),
        without_scope: json!({"scope": "profile email"}),
        faults: vec![
            (
                "ID token",
                json!({}),
                json!({"typ": "ID", "aud": AUDIENCE}),
                "token_type_wrong",
            ),
            (
                "refresh token",
                json!({}),
                json!({"typ": "Refresh"}),
                "token_type_wrong",
            ),
            (
                "no audience mapper",
                json!({}),
                json!({"aud": "account"}),
                "token_audience_mismatch",
            ),
            ("no jti", json!({}), json!({"jti": null}), "token_malformed"),
        ],
    }
}

fn keycloak_25() -> Shape {
    let mut shape = keycloak_24();
    shape.name = "Keycloak 25 and later";
    shape.app = ("client_id", "orders");
    shape.claims["client_id"] = json!("orders");
    shape.claims["sub"] = Value::Null;
    shape.faults.clear();
    shape
}

/// cloud.google.com/docs/authentication/token-types#id-aud: ID tokens of a service account.
fn google() -> Shape {
    Shape {
        name: "Google",
        profile: Profile::Google,
        scope_of_app: true,
        issuer: "https://accounts.google.com",
        app: ("azp", "107517467455664443766"),
        header: header(Some("JWT")),
        claims: json!({
            "aud": AUDIENCE, "azp": "107517467455664443766", "email": "orders@example.iam.gserviceaccount.com",
            "email_verified": true, "exp": NOW.0 + 3_600, "iat": NOW.0 - 10, "iss": "https://accounts.google.com",
            "sub": "107517467455664443766",
        }),
        without_scope: Value::Null,
        faults: vec![
            ("no typ", json!({"typ": null}), json!({}), "token_type_wrong"),
            (
                "other form of the issuer",
                json!({}),
                json!({"iss": "accounts.google.com"}),
                "token_issuer_untrusted",
            ),
            (
                "access token's typ",
                json!({"typ": "at+jwt"}),
                json!({}),
                "token_type_wrong",
            ),
        ],
    }
}

fn shapes() -> Vec<Shape> {
    vec![
        rfc9068(),
        hydra(),
        auth0_classic(),
        auth0_rfc9068(),
        okta(),
        entra_v2(),
        entra_v1(),
        cognito(),
        keycloak_24(),
        keycloak_25(),
        google(),
    ]
}

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
