//! The public documents: key set and metadata, as caches, browsers and OpenID verifiers fetch them.

use portcullis::domain::key::Algorithm;
use serde_json::{Value, json};

use crate::support::{OPERATOR, TempDir, TestControl};

const KEY_SET: &str = "/.well-known/jwks.json";
const OAUTH: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";

#[tokio::test]
async fn known_etag_is_answered_304() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    for path in [KEY_SET, OAUTH, OPENID] {
        let first = server.send("GET", path, &[], b"").await;
        assert_eq!(first.status, 200);
        assert_eq!(first.header("content-type"), Some("application/json"));
        let tag = first.header("etag").unwrap().to_owned();
        for (known, status) in [
            (tag.clone(), 304),
            (format!("W/{tag}"), 304),
            (format!("\"other\", {tag}"), 304),
            ("*".to_owned(), 304),
            ("\"other\"".to_owned(), 200),
            (tag.trim_matches('"').to_owned(), 200),
        ] {
            let headers = [("If-None-Match", known.as_str())];
            let answer = server.send("GET", path, &headers, b"").await;
            assert_eq!(answer.status, status, "{path} {known}");
            assert_eq!(answer.header("etag"), Some(tag.as_str()));
            assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
            assert_eq!(answer.body.is_empty(), status == 304);
        }
    }
}

#[tokio::test]
async fn etag_changes_with_the_keys() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let before = server.send("GET", KEY_SET, &[], b"").await;
    server.control.signing_keys.rotate(&OPERATOR).await.unwrap();
    let tag = before.header("etag").unwrap();
    let after = server.send("GET", KEY_SET, &[("If-None-Match", tag)], b"").await;
    assert_eq!(after.status, 200);
    assert_ne!(after.header("etag"), Some(tag));
    assert_eq!(after.json()["keys"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn scripts_of_any_origin_may_read_public_documents() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let origin = ("Origin", "https://app.example.test");
    for path in [KEY_SET, OAUTH, OPENID] {
        let answer = server.send("GET", path, &[origin], b"").await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-expose-headers"), Some("ETag"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        let asked = [
            origin,
            ("Access-Control-Request-Method", "GET"),
            ("Access-Control-Request-Headers", "if-none-match"),
        ];
        let preflight = server.send("OPTIONS", path, &asked, b"").await;
        assert_eq!((preflight.status, preflight.body.len()), (204, 0), "{path}");
        assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
        assert_eq!(
            preflight.header("access-control-allow-methods"),
            Some("GET, HEAD")
        );
        assert_eq!(preflight.header("access-control-allow-headers"), Some("*"));
        assert_eq!(server.send("HEAD", path, &[], b"").await.status, 200);
        assert_eq!(server.send("POST", path, &[], b"").await.status, 405);
    }
    // What takes credentials says nothing to scripts of other origins.
    for path in ["/token", "/introspect", "/revoke"] {
        let answer = server.send("OPTIONS", path, &[origin], b"").await;
        assert_eq!(answer.status, 405);
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn openid_configuration_is_the_metadata_without_id_tokens() {
    for algorithm in [Algorithm::Es256, Algorithm::Ps256] {
        let dir = TempDir::new();
        let server = TestControl::start_signing(&dir, algorithm).await;
        let of = async |path| server.send("GET", path, &[], b"").await.json();
        let (oauth, openid) = (of(OAUTH).await, of(OPENID).await);
        for (name, value) in oauth.as_object().unwrap() {
            assert_eq!(openid[name], *value, "{name}");
        }
        assert_eq!(openid["subject_types_supported"], json!(["public"]));
        assert_eq!(
            openid["id_token_signing_alg_values_supported"],
            json!([algorithm.as_str()])
        );
        assert_eq!(openid["response_types_supported"], json!([]));
        for absent in ["authorization_endpoint", "userinfo_endpoint"] {
            assert_eq!(openid.get(absent), None::<&Value>);
        }
    }
}

#[tokio::test]
async fn issuer_with_a_path_has_its_metadata_in_both_places() {
    let dir = TempDir::new();
    let issuer = "https://control.test/auth/eu";
    let server = TestControl::start_with(&dir, |settings| issuer.clone_into(&mut settings.public_url)).await;
    for path in [OAUTH, OPENID] {
        for path in [path.to_owned(), format!("{path}/auth/eu")] {
            let answer = server.send("GET", &path, &[], b"").await;
            assert_eq!((answer.status, &answer.json()["issuer"]), (200, &json!(issuer)));
        }
        let other = format!("{path}/auth/us");
        assert_eq!(server.send("GET", &other, &[], b"").await.status, 404);
    }
}
