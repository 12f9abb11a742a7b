//! A second opinion on tokens and assertions: jsonwebtoken, which shares no code with `domain/jws`.
//!
//! It verifies what the control plane issues with the published keys, and it makes the client assertions. It reads the
//! system's clock, so the control plane of these tests is set to that time.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use portcullis::clock::Clock;
use portcullis::domain::key::Algorithm;
use portcullis::domain::time::UnixSeconds;
use serde_json::{Value, json};

use crate::support::{AUDIENCE, Answer, TempDir, TestApp, TestControl, TestKey, unique};

const DAY: u64 = 86_400;

fn algorithm_of(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    algorithm.as_str().parse().unwrap()
}

fn encoding_key(key: &TestKey) -> EncodingKey {
    let pem = key.private_pem.as_bytes();
    match key.algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 => EncodingKey::from_rsa_pem(pem),
        Algorithm::Es256 => EncodingKey::from_ec_pem(pem),
        Algorithm::EdDsa => EncodingKey::from_ed_pem(pem),
    }
    .unwrap()
}

/// A client assertion (RFC 7523) of `app`, signed with `key`.
fn assertion(app: &TestApp<'_>, key: &TestKey, now: UnixSeconds) -> String {
    let mut header = Header::new(algorithm_of(key.algorithm));
    header.kid = Some(app.key_id.clone());
    let claims = json!({
        "iss": app.id(), "sub": app.id(), "aud": app.server.issuer(),
        "iat": now.0, "exp": now.0 + 60, "jti": unique(),
    });
    jsonwebtoken::encode(&header, &claims, &encoding_key(key)).unwrap()
}

/// A control plane whose clock shows `now`.
async fn control_at(dir: &TempDir, signing: Algorithm, now: UnixSeconds) -> TestControl {
    let server = TestControl::start_signing(dir, signing).await;
    server.clock.set(now);
    server
}

fn access_token(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

async fn published_keys(server: &TestControl) -> JwkSet {
    let answer = server.send("GET", "/.well-known/jwks.json", &[], b"").await;
    serde_json::from_slice(&answer.body).unwrap()
}

/// What a resource server checks: signature, issuer, audience and expiry, without leeway.
fn validation(server: &TestControl, signing: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm_of(signing));
    validation.leeway = 0;
    validation.set_issuer(&[server.issuer()]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation
}

/// The header and the claims of a token that verifies with the published key it names, or why it does not.
fn verify(keys: &JwkSet, token: &str, validation: &Validation) -> Result<(Header, Value), ErrorKind> {
    let key_id = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(keys.find(&key_id).unwrap()).unwrap();
    let decoded = jsonwebtoken::decode::<Value>(token, &key, validation);
    decoded
        .map(|data| (data.header, data.claims))
        .map_err(|error| error.kind().clone())
}

#[tokio::test]
async fn jsonwebtoken_verifies_access_tokens_of_each_algorithm() {
    let now = Clock::System.now();
    for (signing, client) in [
        (Algorithm::Rs256, TestKey::rsa(Algorithm::Ps256)),
        (Algorithm::Ps256, TestKey::rsa(Algorithm::Rs256)),
        (Algorithm::Es256, TestKey::ed25519()),
        (Algorithm::EdDsa, TestKey::p256()),
    ] {
        let dir = TempDir::new();
        let server = control_at(&dir, signing, now).await;
        let tenant = server.workspace().await;
        let app = tenant.app_with(&client, &["tracking_api:write"]).await;
        let token = access_token(&server.ask(&assertion(&app, &client, now), "").await);

        let keys = published_keys(&server).await;
        let (header, claims) = verify(&keys, &token, &validation(&server, signing)).unwrap();
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(header.alg, algorithm_of(signing));
        assert_eq!(claims["sub"], app.id());
        assert_eq!(claims["exp"], json!(now.0 + DAY));

        let mut other = validation(&server, signing);
        other.set_issuer(&["https://other.test"]);
        assert_eq!(verify(&keys, &token, &other), Err(ErrorKind::InvalidIssuer));
        let mut other = validation(&server, signing);
        other.set_audience(&["https://other.test"]);
        assert_eq!(verify(&keys, &token, &other), Err(ErrorKind::InvalidAudience));
    }
}

#[tokio::test]
async fn jsonwebtoken_rejects_access_tokens_after_their_expiry() {
    let now = UnixSeconds(Clock::System.now().0 - DAY - 60);
    let dir = TempDir::new();
    let server = control_at(&dir, Algorithm::Es256, now).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let token = access_token(&server.ask(&assertion(&app, &app.key, now), "").await);

    let keys = published_keys(&server).await;
    let mut validation = validation(&server, Algorithm::Es256);
    assert_eq!(
        verify(&keys, &token, &validation),
        Err(ErrorKind::ExpiredSignature)
    );
    // The expiry is the only fault.
    validation.validate_exp = false;
    assert!(verify(&keys, &token, &validation).is_ok());
}

#[tokio::test]
async fn token_endpoint_rejects_assertions_by_another_key() {
    let now = Clock::System.now();
    let dir = TempDir::new();
    let server = control_at(&dir, Algorithm::Es256, now).await;
    let tenant = server.workspace().await;
    for (key, other) in [
        (
            TestKey::rsa(Algorithm::Rs256),
            TestKey::generate(Algorithm::Rs256),
        ),
        (
            TestKey::rsa(Algorithm::Ps256),
            TestKey::generate(Algorithm::Ps256),
        ),
        (TestKey::p256(), TestKey::p256()),
        (TestKey::ed25519(), TestKey::ed25519()),
    ] {
        let app = tenant.app_with(&key, &["tracking_api:write"]).await;
        let rejected = server.ask(&assertion(&app, &other, now), "").await;
        assert_eq!(rejected.status, 401, "{rejected:?}");
        assert_eq!(rejected.json()["error"], "invalid_client");
        let accepted = server.ask(&assertion(&app, &key, now), "").await;
        assert_eq!(accepted.status, 200, "{accepted:?}");
    }
}
