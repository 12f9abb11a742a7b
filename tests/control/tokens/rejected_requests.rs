//! What the token endpoint refuses, and how: exactly the answers that clients understand, and no oracle.

use portcullis::domain::key::Algorithm;
use portcullis::domain::time::UnixSeconds;
use serde_json::{Value, json};

use crate::support::{Answer, NOW, TempDir, TestControl, TestKey, form, signing_input};

/// What holds for every error of the token endpoint, and its two members.
#[track_caller]
fn oauth_error(answer: &Answer) -> (String, String) {
    assert_eq!(
        answer.header("content-type"),
        Some("application/json"),
        "{answer:?}"
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("pragma"), Some("no-cache"));
    assert!(answer.header("date").is_some(), "SDKs set their clocks by it");
    let body = answer.json();
    let text = |name: &str| {
        body[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name}: {body}"))
            .to_owned()
    };
    assert!(!text("error_description").is_empty());
    (text("error"), text("error_description"))
}

#[track_caller]
fn refused(answer: &Answer, status: u16, error: &str) -> String {
    let (found, description) = oauth_error(answer);
    assert_eq!((answer.status, found.as_str()), (status, error), "{description}");
    description
}

#[tokio::test]
async fn wrong_clock_has_the_error_that_sdks_parse() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;

    server.clock.set(UnixSeconds(NOW + 55 + 5));
    let answer = server.ask(&app.assertion(), "tracking_api:write").await;
    assert_eq!(refused(&answer, 400, "invalid_request"), "Token is expired");

    server.clock.set(UnixSeconds(NOW - 5 - 6));
    let answer = server.ask(&app.assertion(), "tracking_api:write").await;
    assert_eq!(
        refused(&answer, 400, "invalid_request"),
        "Token used before issued"
    );

    // One second inside either bound.
    for now in [NOW + 55 + 4, NOW - 5 - 5] {
        server.clock.set(UnixSeconds(now));
        assert_eq!(
            server.ask(&app.assertion(), "tracking_api:write").await.status,
            200,
            "{now}"
        );
    }
}

#[tokio::test]
async fn implausible_dates_are_not_reported_as_a_wrong_clock() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let year = 366 * 86_400;
    let dated = |issued: u64, expires: u64| {
        let mut claims = app.claims();
        (claims["iat"], claims["exp"]) = (json!(issued), json!(expires));
        app.key.sign(&app.header(), &claims)
    };
    for assertion in [
        dated(NOW * 1_000, NOW * 1_000 + 60_000),
        dated(NOW * 1_000, NOW + 55),
        dated(NOW - 5, NOW * 1_000),
        dated(0, 60),
        dated(NOW + year + 1, NOW + year + 61),
        dated(NOW - year - 61, NOW - year - 1),
        dated(u64::MAX - 60, u64::MAX),
        app.assertion_with("nbf", json!(NOW * 1_000)),
        app.assertion_with("iat", json!((NOW * 1_000).to_string())),
    ] {
        let answer = server.ask(&assertion, "tracking_api:write").await;
        let description = refused(&answer, 401, "invalid_client");
        assert!(!description.starts_with("Token"), "{description}");
    }
    // A clock that a year explains is still told so.
    for (assertion, description) in [
        (dated(NOW + year, NOW + year + 60), "Token used before issued"),
        (dated(NOW - year - 60, NOW - year), "Token is expired"),
    ] {
        let answer = server.ask(&assertion, "tracking_api:write").await;
        assert_eq!(refused(&answer, 400, "invalid_request"), description);
    }
}

#[tokio::test]
async fn unknown_app_key_and_bad_signature_get_the_same_response() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let (app, other) = (tenant.app().await, tenant.app().await);
    let body = async |assertion: String| {
        let answer = server.ask(&assertion, "tracking_api:write").await;
        refused(&answer, 401, "invalid_client");
        answer.body
    };

    let mut claims = app.claims();
    claims["sub"] = json!("app_00000000000000000000000000000000");
    let unknown_app = body(app.key.sign(&app.header(), &claims)).await;
    let mut header = app.header();
    header["kid"] = json!("key_nobody");
    let unknown_key = body(app.key.sign(&header, &app.claims())).await;
    let wrong_signature = body(other.key.sign(&app.header(), &app.claims())).await;
    header["kid"] = json!(other.key_id);
    let key_of_another_app = body(other.key.sign(&header, &app.claims())).await;

    assert_eq!(unknown_app, unknown_key);
    assert_eq!(unknown_app, wrong_signature);
    assert_eq!(unknown_app, key_of_another_app);
}

#[tokio::test]
async fn unsigned_assertion_reveals_no_clock_or_audience_error() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let mut claims = app.claims();
    claims["exp"] = json!(1);
    claims["aud"] = json!("https://elsewhere.test");
    let answer = server
        .ask(&TestKey::p256().sign(&app.header(), &claims), "")
        .await;
    let usual = server
        .ask(&TestKey::p256().sign(&app.header(), &app.claims()), "")
        .await;
    assert_eq!(
        refused(&answer, 401, "invalid_client"),
        refused(&usual, 401, "invalid_client")
    );
}

#[tokio::test]
async fn assertion_is_used_once() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let assertion = app.assertion();
    assert_eq!(server.ask(&assertion, "tracking_api:write").await.status, 200);
    let description = refused(
        &server.ask(&assertion, "tracking_api:write").await,
        401,
        "invalid_client",
    );
    assert!(description.contains("used before"), "{description}");
    // A signature made anew over the same content is the same assertion; ES256 signs differently each time.
    let claims = app.claims();
    let again = [
        app.key.sign(&app.header(), &claims),
        app.key.sign(&app.header(), &claims),
    ];
    assert_ne!(again[0], again[1]);
    assert_eq!(server.ask(&again[0], "tracking_api:write").await.status, 200);
    refused(
        &server.ask(&again[1], "tracking_api:write").await,
        401,
        "invalid_client",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_replays_of_one_assertion_succeed_once() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    for _ in 0..4 {
        let assertion = app.assertion();
        let all = (0..24).map(|_| server.ask(&assertion, "tracking_api:write"));
        let mut statuses: Vec<u16> = futures::future::join_all(all)
            .await
            .iter()
            .map(|answer| answer.status)
            .collect();
        statuses.sort_unstable();
        assert_eq!(statuses[0], 200, "{statuses:?}");
        assert!(statuses[1..].iter().all(|status| *status == 401), "{statuses:?}");
    }
}

#[tokio::test]
async fn replay_is_rejected_after_a_restart() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let assertion = app.assertion();
    assert_eq!(server.ask(&assertion, "tracking_api:write").await.status, 200);
    server.stop().await;

    let server = TestControl::start(&dir).await;
    let description = refused(
        &server.ask(&assertion, "tracking_api:write").await,
        401,
        "invalid_client",
    );
    assert!(description.contains("used before"), "{description}");
}

#[tokio::test]
async fn invalid_assertion_claims_are_rejected() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let issuer = server.issuer();
    for (name, value) in [
        ("aud", json!([issuer, "https://elsewhere.test"])),
        ("aud", json!([issuer, issuer])),
        ("aud", json!("https://elsewhere.test")),
        ("aud", json!(format!("{issuer}/v1/token"))),
        ("aud", json!(format!("{issuer}//"))),
        ("aud", json!([])),
        ("aud", json!({"a": issuer})),
        ("aud", Value::Null),
        ("iss", json!("https://elsewhere.test")),
        ("iss", json!(7)),
        ("jti", json!("")),
        ("jti", json!(["a"])),
        ("exp", Value::Null),
        ("exp", json!("soon")),
        ("exp", json!("inf")),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("exp", json!([NOW + 55])),
        ("exp", json!(NOW + 3_596)),
        ("sub", Value::Null),
        ("sub", json!("a\"b")),
    ] {
        let answer = server
            .ask(&app.assertion_with(name, value.clone()), "tracking_api:write")
            .await;
        let (error, description) = oauth_error(&answer);
        assert_eq!(
            (answer.status, error.as_str()),
            (401, "invalid_client"),
            "{name} {value}: {description}"
        );
    }
}

#[tokio::test]
async fn forged_assertion_headers_are_rejected() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant
        .app_with(&TestKey::rsa(Algorithm::Rs256), &["tracking_api:write"])
        .await;
    let claims = app.claims().to_string();
    let header = |alg: &str| json!({"alg": alg, "kid": app.key_id, "typ": "JWT"}).to_string();
    let mut forged = Vec::new();
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let input = signing_input(&header(none), &claims);
        forged.extend([format!("{input}."), format!("{input}.AA")]);
    }
    // HMAC keyed with what everybody may know: the public key, in both its forms.
    let pem = app.key.public_pem.as_bytes();
    let trimmed = app.key.public_pem.trim().as_bytes();
    for key in [pem, trimmed] {
        let input = signing_input(&header("HS256"), &claims);
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
        let tag = aws_lc_rs::hmac::sign(&key, input.as_bytes());
        forged.push(format!("{input}.{}", base64url(tag.as_ref())));
    }
    let mut with = |name: &str, value: Value| {
        let mut header = app.header();
        header[name] = value;
        forged.push(app.key.sign(&header, &app.claims()));
    };
    // The right key with another algorithm than the one it is registered for, and headers that would choose.
    with("alg", json!("PS256"));
    with("alg", json!("RS512"));
    with("crit", json!(["exp"]));
    with("jku", json!("https://elsewhere.test/jwks.json"));
    with("jwk", json!({"kty": "RSA"}));
    with("x5c", json!([]));
    for typ in ["at+jwt", "application/at+jwt", "dpop+jwt", "AT+JWT"] {
        with("typ", json!(typ));
    }
    forged.extend(["", "a.b", "a.b.c", "a.b.c.d.e", &"a".repeat(9_000)].map(str::to_owned));
    for assertion in forged {
        let answer = server.ask(&assertion, "tracking_api:write").await;
        refused(&answer, 401, "invalid_client");
    }
    // The same header without a lie is accepted, so what was refused was refused for the lie.
    assert_eq!(
        server.ask(&app.assertion(), "tracking_api:write").await.status,
        200
    );
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[tokio::test]
async fn access_token_is_not_accepted_as_an_assertion() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let token = tenant.app().await.token().await;
    refused(
        &server.ask(&token, "tracking_api:write").await,
        401,
        "invalid_client",
    );
}

#[tokio::test]
async fn malformed_token_requests_get_the_fitting_error() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let scope = "tracking_api:write";
    let good = || form(&app.assertion(), scope);
    let and = |more: &str| format!("{}&{more}", good());
    let with = |old: &str, new: &str| good().replace(old, new);
    let without = |name: &str| {
        let (form, prefix) = (good(), format!("{name}="));
        form.split('&')
            .filter(|pair| !pair.starts_with(&prefix))
            .collect::<Vec<_>>()
            .join("&")
    };
    for (form, status, error) in [
        (and("scope=tracking_api:write"), 400, "invalid_request"),
        (and("%73cope=tracking_api:write"), 400, "invalid_request"),
        (
            and(&format!("client_assertion={}", app.assertion())),
            400,
            "invalid_request",
        ),
        (and("%"), 400, "invalid_request"),
        (and("x=%FF"), 400, "invalid_request"),
        (String::new(), 400, "invalid_request"),
        (without("grant_type"), 400, "invalid_request"),
        (with("client_credentials", ""), 400, "invalid_request"),
        (
            with("client_credentials", "password"),
            400,
            "unsupported_grant_type",
        ),
        (without("client_assertion"), 401, "invalid_client"),
        (without("client_assertion_type"), 401, "invalid_client"),
        (with("jwt-bearer", "saml2-bearer"), 401, "invalid_client"),
        (and("client_secret=x"), 401, "invalid_client"),
        (and("client_id=app_other"), 401, "invalid_client"),
        (with(scope, "functions:write"), 400, "invalid_scope"),
        (
            with(scope, "tracking_api:write functions:write"),
            400,
            "invalid_scope",
        ),
        (with(scope, "a\"b"), 400, "invalid_scope"),
        (with(scope, "tracking_api:*"), 400, "invalid_scope"),
    ] {
        let answer = server.post_token("/token", &form).await;
        let (found, description) = oauth_error(&answer);
        assert_eq!(
            (answer.status, found.as_str()),
            (status, error),
            "{form}: {description}"
        );
    }
}

#[tokio::test]
async fn http_errors_have_error_and_error_description() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let form_type = ("Content-Type", "application/x-www-form-urlencoded");
    for path in ["/token", "//token"] {
        for method in ["GET", "PUT", "DELETE"] {
            let answer = server.send(method, path, &[], b"").await;
            refused(&answer, 405, "invalid_request");
            assert_eq!(answer.header("allow"), Some("POST"));
        }
        let json_type = [("Content-Type", "application/json")];
        refused(
            &server.send("POST", path, &json_type, b"{}").await,
            415,
            "invalid_request",
        );
        refused(
            &server.send("POST", path, &[], b"a=b").await,
            415,
            "invalid_request",
        );
        let large = vec![b'a'; 64 * 1024 + 1];
        refused(
            &server.send("POST", path, &[form_type], &large).await,
            413,
            "invalid_request",
        );
        let basic = [form_type, ("Authorization", "Basic YTpi")];
        let answer = server
            .send("POST", path, &basic, b"grant_type=client_credentials")
            .await;
        refused(&answer, 401, "invalid_client");
        assert!(answer.header("www-authenticate").is_some());
    }
}

#[tokio::test]
async fn error_description_has_only_characters_of_rfc_6749() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    for form in ["a%22%5C%00%C3%A4=1&a%22%5C%00%C3%A4=1", "grant_type=%22"] {
        let (_, description) = oauth_error(&server.post_token("/token", form).await);
        assert!(
            description
                .bytes()
                .all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\'),
            "{description:?}"
        );
    }
}

#[tokio::test]
async fn concurrent_replays_do_not_fail_other_assertions() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    for _ in 0..5 {
        let (copied, others): (String, Vec<String>) =
            (app.assertion(), (0..8).map(|_| app.assertion()).collect());
        let copies = std::iter::repeat_n(&copied, 24).chain(&others);
        let answers = futures::future::join_all(copies.map(|one| server.ask(one, ""))).await;
        let (of_copies, of_others) = answers.split_at(24);
        assert_eq!(of_copies.iter().filter(|answer| answer.status == 200).count(), 1);
        for answer in of_copies.iter().filter(|answer| answer.status != 200) {
            refused(answer, 401, "invalid_client");
        }
        assert!(
            of_others.iter().all(|answer| answer.status == 200),
            "{of_others:?}"
        );
    }
}
