//! The sentence of a denial names the mistake that was made.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use serde_json::json;

use crate::forge;
use crate::forge::write_key;
use crate::gateway::{ENFORCED, FORGE, Http, Setup, TestGateway, UNENFORCED, basic, batch, token};
use crate::upstream::StubUpstream;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn post() -> Http {
    Http::new("POST", "tracking.test", "/v1/batch")
}

async fn assert_said(gateway: &TestGateway, request: Http, status: u16, words: &[&str]) {
    let answer = gateway.send(&request).await;
    assert_eq!(answer.status, status, "{answer:?}");
    let json = answer.json();
    let sentence = json["error_description"].as_str().unwrap().to_owned();
    for word in words {
        assert!(sentence.contains(word), "{word} is not in: {sentence}");
    }
    assert_eq!(json["message"], json["error_description"]);
}

#[tokio::test]
async fn credential_of_the_wrong_form_is_named() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let (jwt, key) = (token(ENFORCED), write_key(ENFORCED));
    let no_colon = STANDARD.encode(&key);
    for (authorization, words) in [
        (jwt.clone(), ["no scheme", "Bearer"]),
        (format!("Token {jwt}"), ["scheme", "not known"]),
        (format!("Bearer: {jwt}"), ["no space behind Bearer", "token"]),
        (format!("Bearer{jwt}"), ["no space behind Bearer", "token"]),
        (format!("Basic {no_colon}"), ["a colon", "WRITE_KEY:"]),
    ] {
        let request = Http::batch(ENFORCED).header(format!("Authorization: {authorization}"));
        assert_said(&gateway, request, 400, &words).await;
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn dpop_is_401_with_a_challenge() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let function = Http::new("POST", "functions.test", &format!("/?b={}", write_key(ENFORCED)));
    for scheme in ["DPoP", "dpop", "GNAP", "OAuth"] {
        for request in [Http::batch(ENFORCED), function.clone()] {
            let request = request.header(format!("Authorization: {scheme} {}", token(ENFORCED)));
            let answer = gateway.send(&request).await;
            answer.assert_denied(401, "token_malformed");
            let challenge = answer.one("WWW-Authenticate");
            assert!(
                challenge.starts_with("Bearer error=\"invalid_token\""),
                "{challenge}"
            );
            assert!(challenge.contains("is not supported here"), "{challenge}");
            let sentence = answer.json()["error_description"].to_string();
            assert!(
                sentence.contains("scheme") && sentence.contains("Bearer"),
                "{sentence}"
            );
        }
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn body_of_the_wrong_form_is_named() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.limits.body_bytes = 100_000;
    let gateway = setup.start().await;
    let kind = |kind: &str| post().header(format!("Content-Type: {kind}"));
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(64), "]".repeat(64));
    let equal = format!(
        r#"{{"batch":[{}{{}}],"writeKey":"k"}}"#,
        r#"{"event":"e"},"#.repeat(12_000)
    );
    let coded = post().header("Content-Encoding: gzip");
    // Not compressible by much, and large.
    let noise: String = (0..90_000_u32)
        .map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761)))
        .collect();
    let large = gzip(format!("{{\"a\":\"{}\"}}", noise.repeat(3)).as_bytes());
    for (request, status, words) in [
        (
            kind("application/json; charset=ISO-8859-1").body("{}"),
            400,
            ["charset", "UTF-8"],
        ),
        (
            kind("multipart/form-data; boundary=x").body("{}"),
            400,
            ["multipart", "application/json"],
        ),
        (
            kind("application/x-www-form-urlencoded").body("a=b"),
            400,
            ["is a form", "application/json"],
        ),
        (post().body("{"), 400, ["not one valid JSON", "object"]),
        (post().body("[{}]"), 400, ["array", "one JSON object"]),
        (post().body("\u{feff}{}"), 400, ["byte order mark", "without"]),
        (post().body(gzip(b"{}")), 400, ["gzip", "Content-Encoding"]),
        (post().body(deep), 400, ["nested deeper than", "64"]),
        (
            post().body(vec![b' '; 100_001]),
            413,
            ["100000 bytes", "limits.body_bytes"],
        ),
        (
            coded.clone().body(gzip(equal.as_bytes())),
            413,
            ["200 times", "repetitive"],
        ),
        (
            coded.clone().body(b"x".to_vec()),
            400,
            ["one complete gzip", "uncompressed"],
        ),
        (coded.body(large), 413, ["bytes", "limits.body_bytes"]),
    ] {
        assert_said(&gateway, request, status, &words).await;
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn missing_source_says_where_to_put_the_write_key() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    assert_said(
        &gateway,
        post().body("{}"),
        400,
        &["HTTP Basic", "`writeKey` of a JSON body"],
    )
    .await;
    let function = Http::new("POST", "functions.test", "/").body("{}");
    let words = ["query parameter `b`", "header `x-segment-source-function-token`"];
    assert_said(&gateway, function, 400, &words).await;
}

/// A token's fault explains a denial for the token alone.
#[tokio::test]
async fn sentence_and_reason_come_from_the_same_check() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let request = post().bearer("a.b.c").body("{}");
    assert_said(&gateway, request, 400, &["names no source"]).await;
    let request = Http::batch(77).bearer("a.b.c");
    assert_said(&gateway, request, 401, &["no source has this write key"]).await;
    let answer = gateway.send(&Http::batch(ENFORCED).bearer("a.b.c")).await;
    let challenge = answer.one("WWW-Authenticate").to_owned();
    let sentence = answer.json()["error_description"].as_str().unwrap().to_owned();
    assert!(challenge.contains(&sentence), "{challenge} {sentence}");
    upstream.assert_untouched();
}

/// `curl -d` and RudderStack's Node.js SDK label JSON as a form.
#[tokio::test]
async fn json_under_the_media_type_of_a_form_is_read_as_json() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let form = || post().header("Content-Type: application/x-www-form-urlencoded");
    let key = write_key(UNENFORCED);
    let same = format!(r#"{{"a":"&writeKey={key}&b","writeKey":"{key}"}}"#);
    for request in [
        form().body(batch(UNENFORCED)),
        form()
            .header("Content-Encoding: gzip")
            .header(basic(&key))
            .body(gzip(batch(UNENFORCED).as_bytes())),
        form().body(same),
    ] {
        gateway.send(&request).await.assert_ok();
    }
    assert_eq!(upstream.received().len(), 3);
    let enforced = form().body(batch(ENFORCED));
    gateway.send(&enforced).await.assert_denied(401, "token_missing");
    let other = write_key(ENFORCED);
    for inside in [
        format!("&writeKey={other}&"),
        format!(";WRITEKEY[]={other};"),
        format!("&write%4Bey={other}&"),
        "&writeKey=nobody&".to_owned(),
    ] {
        let body = format!(r#"{{"a":"{inside}","writeKey":"{key}"}}"#);
        for (request, body) in [
            (form(), body.clone().into_bytes()),
            (form().header("Content-Encoding: gzip"), gzip(body.as_bytes())),
        ] {
            let answer = gateway.send(&request.body(body)).await;
            answer.assert_denied(400, "source_ambiguous");
        }
    }
    let without = form().body(r#"{"a":"&writeKey=K2&"}"#);
    assert_eq!(gateway.send(&without).await.status, 400);
    let token = form().header("Content-Encoding: gzip").body(gzip(
        format!(r#"{{"a":"&access_token=x&","writeKey":"{key}"}}"#).as_bytes(),
    ));
    gateway
        .send(&token)
        .await
        .assert_denied(400, "credentials_conflict");
    assert_eq!(upstream.received().len(), 3);
}

/// Bounds of a token are named, with the number that is exceeded.
#[tokio::test]
async fn claim_bound_is_named() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut many = forge::claims(ENFORCED, "many");
    for n in 0..=1024 {
        many[format!("m{n}")] = json!(n);
    }
    let header = forge::header();
    let mut long = header.clone();
    long["x"] = json!("x".repeat(1024));
    let claims = forge::claims(ENFORCED, "long");
    for (header, claims, words) in [
        (&header, &many, ["payload", "more than 1024 members"]),
        (&long, &claims, ["header", "longer than 1024 bytes"]),
    ] {
        let token = FORGE.sign(header, claims);
        let request = Http::batch(ENFORCED).bearer(&token);
        assert_said(&gateway, request, 401, &words).await;
    }
    upstream.assert_untouched();
}
