//! Keys, tokens and policies for tests and benches, made without a control plane.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use portcullis::domain::access_token::VerifiedToken;
use portcullis::domain::ids::{KeyId, WriteKeyDigest};
use portcullis::domain::key::{Algorithm, PublicKey};
use portcullis::domain::policy::{Freshness, Policy, WhenStale};
use portcullis::domain::time::UnixSeconds;
use portcullis::snapshot;
use portcullis::snapshot::{
    AppRecord, FORMAT, IssuerRecord, Jwk, RevocationRecord, Snapshot, SourceRecord, digest_text,
};
use serde_json::{Value, json};

use super::test_key::TestKey;

pub const NOW: UnixSeconds = UnixSeconds(1_795_000_000);
pub const ISSUER: &str = "https://auth.test";
pub const AUDIENCE: &str = "https://gateway.test";
pub const SCOPE: &str = "tracking_api:write";
pub const KEY_ID: &str = "signing-1";

pub const FRESHNESS: Freshness = Freshness {
    max_age_s: 86_400,
    when_stale: WhenStale::Deny,
};

/// A signing key and the documents made with it.
pub struct Forge(TestKey);

impl Forge {
    /// A forge with a new RSA key of 2048 bits.
    pub fn new() -> Self {
        Self::of(Algorithm::Rs256)
    }

    /// A forge with a new key for `algorithm`.
    pub fn of(algorithm: Algorithm) -> Self {
        Self(TestKey::generate(algorithm))
    }

    pub fn public(&self) -> &PublicKey {
        &self.0.public
    }

    pub fn jwk(&self) -> Jwk {
        snapshot::jwk(&KeyId::parse(KEY_ID).unwrap(), self.public(), self.0.algorithm)
    }

    /// A compact JWS with exactly this header and payload.
    pub fn sign(&self, header: &Value, payload: &Value) -> String {
        self.0.sign(header, payload)
    }

    /// A compact JWS signed with an algorithm that the key need not be pinned to.
    pub fn sign_as(&self, header: &Value, payload: &Value, algorithm: &str) -> String {
        self.0
            .sign_as(Algorithm::parse(algorithm).unwrap(), header, payload)
    }

    /// A compact JWS of two texts, well-formed or not.
    pub fn sign_text(&self, header: &str, payload: &str) -> String {
        self.0.sign_text(header, payload)
    }

    /// A good token of app number `n` with this token id.
    pub fn token_text(&self, app: usize, token_id: &str) -> String {
        self.sign(&self.header(), &claims(app, token_id))
    }

    /// The same, taken as verified.
    pub fn token(&self, policy: &Policy, source: usize, token_id: &str) -> VerifiedToken {
        // Signing 100,000 tokens takes a minute; no signature is needed where only claims matter.
        let issuer = policy.issuer(ISSUER).unwrap();
        VerifiedToken::for_test(
            issuer,
            self.public().thumbprint(),
            &claims(source, token_id).to_string(),
        )
        .unwrap()
    }

    pub fn header(&self) -> Value {
        json!({"alg": self.0.algorithm.as_str(), "kid": KEY_ID, "typ": "at+jwt"})
    }

    /// A snapshot with this many sources, each connected to an app of its own, all enforced.
    pub fn snapshot(&self, sources: usize, revocations: usize) -> Snapshot {
        self.snapshot_of(sources, sources, revocations)
    }

    /// The same with fewer apps than sources; they take turns in being connected.
    pub fn snapshot_of(&self, sources: usize, apps: usize, revocations: usize) -> Snapshot {
        Snapshot {
            format: FORMAT,
            version: 1,
            issued_at: NOW.0,
            issuer: Some(IssuerRecord {
                issuer: ISSUER.to_owned(),
                audience: AUDIENCE.to_owned(),
                keys: vec![self.jwk()],
            }),
            apps: (0..apps).map(app_record).collect(),
            workspaces: Vec::new(),
            sources: (0..sources).map(|n| source_record(n, n % apps)).collect(),
            revocations: (0..revocations).map(revocation_record).collect(),
        }
    }

    pub fn policy(&self, sources: usize, revocations: usize) -> Policy {
        snapshot::compile(&self.snapshot(sources, revocations), &[], FRESHNESS).unwrap()
    }
}

pub fn header() -> Value {
    json!({"alg": "RS256", "kid": KEY_ID, "typ": "at+jwt"})
}

pub fn claims(app: usize, token_id: &str) -> Value {
    json!({
        "iss": ISSUER, "sub": app_id(app), "client_id": app_id(app), "aud": AUDIENCE,
        "iat": NOW.0 - 10, "exp": NOW.0 + 3_600, "jti": token_id, "scope": SCOPE,
        "workspace_id": "ws-1", "client_key_id": "key-1",
    })
}

pub fn app_id(n: usize) -> String {
    format!("app_{n:032x}")
}

pub fn write_key(n: usize) -> String {
    format!("wk_{n:029}")
}

fn app_record(n: usize) -> AppRecord {
    AppRecord {
        id: app_id(n),
        workspace: "ws-1".to_owned(),
        issuer: ISSUER.to_owned(),
        scopes: vec![SCOPE.to_owned()],
        keys: Some(vec!["key-1".to_owned()]),
        not_issued_before: 0,
        keys_not_issued_before: [].into(),
    }
}

fn source_record(n: usize, app: usize) -> SourceRecord {
    SourceRecord {
        id: format!("src_{n:032x}"),
        workspace: "ws-1".to_owned(),
        write_key_digest: digest_text(&WriteKeyDigest::of(write_key(n).as_bytes())),
        enforcement: "on".to_owned(),
        app: Some(app_id(app)),
    }
}

fn revocation_record(n: usize) -> RevocationRecord {
    RevocationRecord {
        issuer: ISSUER.to_owned(),
        token_id: format!("revoked-{n}"),
        expires_at: NOW.0 + 86_400,
    }
}
