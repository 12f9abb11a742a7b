//! Identity of a request: where sources and credentials are read, and which headers go upstream.

mod spoofed_headers;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::forge::{SCOPE, write_key};
use crate::gateway::{
    ENFORCED, FUNCTIONS_SCOPE, Http, OTHER, PUBLIC_SCOPE, Setup, UNENFORCED, basic, batch, token, token_for,
};
use crate::upstream::{Received, StubUpstream};

/// What the upstream received of a request that must be let through.
async fn forwarded(request: Http) -> Received {
    forwarded_with(|_| {}, request).await
}

async fn forwarded_with(change: impl FnOnce(&mut Setup), request: Http) -> Received {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    change(&mut setup);
    let gateway = setup.start().await;
    gateway.send(&request).await.assert_ok();
    upstream.only()
}

async fn assert_refused(request: Http, status: u16, reason: &str) {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    gateway.send(&request).await.assert_denied(status, reason);
    upstream.assert_untouched();
}

fn source_id(n: usize) -> String {
    format!("src_{n:032x}")
}

fn function(target: &str) -> Http {
    Http::new("POST", "functions.test", target).bearer(&token_for(ENFORCED, FUNCTIONS_SCOPE))
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn source_is_read_from_the_body() {
    let received = forwarded(Http::good_batch(ENFORCED)).await;
    assert_eq!(received.one("X-Portcullis-Source-Id"), source_id(ENFORCED));
}

#[tokio::test]
async fn source_is_read_from_basic() {
    let request = Http::new("GET", "tracking.test", "/v1/settings").basic(&write_key(UNENFORCED));
    let received = forwarded(request).await;
    assert_eq!(received.one("X-Portcullis-Source-Id"), source_id(UNENFORCED));
}

#[tokio::test]
async fn source_is_read_from_the_query() {
    let key = write_key(ENFORCED);
    for query in [
        format!("b={key}"),
        format!("a=1&b={}&c", percent_encoded(&key)),
        format!("%62={key}"),
        format!("b={key}&b={key}"),
    ] {
        let received = forwarded(function(&format!("/?{query}"))).await;
        assert_eq!(
            received.one("X-Portcullis-Source-Id"),
            source_id(ENFORCED),
            "{query}"
        );
        assert_eq!(
            received.target,
            format!("/?{query}"),
            "the target goes on as it came"
        );
    }
}

#[tokio::test]
async fn source_is_read_from_a_header() {
    let line = format!("X-Segment-Source-Function-Token: {}", write_key(ENFORCED));
    let received = forwarded(function("/").header(line)).await;
    assert_eq!(received.one("X-Portcullis-Source-Id"), source_id(ENFORCED));
}

#[tokio::test]
async fn places_that_disagree_are_ambiguous() {
    let (one, other) = (write_key(ENFORCED), write_key(OTHER));
    let header = |key: &str| format!("X-Segment-Source-Function-Token: {key}");
    let inside = |event: &str, top: &str| {
        let body = format!(r#"{{"batch":[{{"writeKey":"{event}"}}],"writeKey":"{top}"}}"#);
        Http::new("POST", "tracking.test", "/v1/batch")
            .bearer(&token(ENFORCED))
            .body(body)
    };
    for request in [
        Http::batch(ENFORCED).basic(&other),
        function(&format!("/?b={one}")).header(header(&other)),
        function(&format!("/?b={one}&b={other}")),
        function("/").header(header(&one)).header(header(&other)),
        function(&format!("/?b={one}&B={other}")),
        function(&format!("/?a=1;b={other}&b={one}")),
        function(&format!("/?b={one};b={other}")),
        function(&format!("/?b[]={other}&b={one}")),
        function(&format!("/?b={one}%00")),
        function(&format!("/?b=%20{one}")),
        function(&format!("/?b={one}&++b={other}")),
        function(&format!("/?b={one}&+%20b={other}")),
        Http::batch(ENFORCED).basic(&format!("{one}\0")),
        // To some servers these two are one header.
        function("/")
            .header(header(&one))
            .header(format!("X_Segment_Source-Function_Token: {other}")),
        inside(&other, &one),
    ] {
        assert_refused(request, 400, "source_ambiguous").await;
    }
}

#[tokio::test]
async fn write_key_spellings_read_differently_are_ambiguous() {
    let (one, other) = (write_key(ENFORCED), write_key(OTHER));
    for body in [
        format!(r#"{{"writeKey":"{one}","writeKey":"{other}"}}"#),
        format!(r#"{{"writeKey":"{one}","write\u004bey":"{other}"}}"#),
        format!(r#"{{"writeKey":"{one}","WriteKey":"{other}"}}"#),
        format!(r#"{{"writekey":"{one}"}}"#),
        // Go's parser folds letter case as Unicode does: the Kelvin sign is a `k`.
        format!("{{\"writeKey\":\"{one}\",\"write\u{212a}ey\":\"{other}\"}}"),
        format!(r#"{{"writeKey":"{one}","write\u212aey":"{other}"}}"#),
        format!(r#"{{"writeKey":"{one}\u0000"}}"#),
        format!(r#"{{"writeKey":"{one}\u00a0"}}"#),
        format!(r#"{{"writeKey":"{one}","batch":[{{"writeKey":"{one}","writeKey":"{one}"}}]}}"#),
        format!(r#"{{"writeKey":"{one}","batch":[{{"WriteKey":"{other}"}}]}}"#),
        format!(r#"{{"writeKey":"{one}","batch":[],"Batch":[{{"writeKey":"{other}"}}]}}"#),
        format!(r#"{{"writeKey":"{one}","batch":[{{"writeKey":"{one}"}},{{"writeKey":"{other}"}}]}}"#),
        // To those whose texts end at a NUL, to Java, and to those that go over an object as over an array.
        format!(r#"{{"writeKey\u0000":"{other}","writeKey":"{one}"}}"#),
        format!("{{\"wr\u{131}teKey\":\"{other}\",\"writeKey\":\"{one}\"}}"),
        format!(r#"{{"wr\u0130teKey":"{other}","writeKey":"{one}"}}"#),
        format!(r#"{{"writeKey":"{one}","batch":{{"0":{{"writeKey":"{other}"}}}}}}"#),
        format!(r#"{{"writeKey":"{one}","batch":{{"writeKey":"{other}"}}}}"#),
    ] {
        let request = Http::new("POST", "tracking.test", "/v1/batch")
            .bearer(&token(ENFORCED))
            .body(body);
        assert_refused(request, 400, "source_ambiguous").await;
    }
}

#[tokio::test]
async fn body_in_a_media_type_of_another_reading_is_refused() {
    for kind in [
        "application/x-www-form-urlencoded; charset=utf-16",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-7",
        "application/json\r\nContent-Type: application/x-www-form-urlencoded",
    ] {
        let request = Http::good_batch(ENFORCED).header(format!("Content-Type: {kind}"));
        assert_refused(request, 400, "body_invalid").await;
    }
}

/// Each of these is read by some parser and refused by another, or read as other characters.
#[tokio::test]
async fn bodies_that_only_some_parsers_read_are_refused() {
    let good = batch(ENFORCED);
    let deep = |levels: usize| format!("{{\"a\":{}{},", "[".repeat(levels), "]".repeat(levels));
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for body in [
        format!("\u{feff}{good}").into_bytes(),
        utf16.clone(),
        [&[0xff, 0xfe], &utf16[..]].concat(),
        good.replacen("track", "\u{1}", 1).into_bytes(),
        [b"{\"a\":\"\xed\xa0\x80\",", &good.as_bytes()[1..]].concat(),
        [b"{\"a\":\"\xc0\xaf\",", &good.as_bytes()[1..]].concat(),
        good.replacen('{', r#"{"\ud800":1,"#, 1).into_bytes(),
        good.replacen('{', &deep(64), 1).into_bytes(),
        format!("{good}{good}").into_bytes(),
        format!("{good}\0").into_bytes(),
        format!("{good}//").into_bytes(),
        format!("[{good}]").into_bytes(),
        good.replacen('{', "{\"a\":NaN,", 1).into_bytes(),
        good.replace('"', "'").into_bytes(),
    ] {
        let request = Http::new("POST", "tracking.test", "/v1/batch")
            .bearer(&token(ENFORCED))
            .body(body);
        assert_refused(request, 400, "body_invalid").await;
    }
    let within = good.replacen('{', &deep(63), 1);
    let request = Http::new("POST", "tracking.test", "/v1/batch").bearer(&token(ENFORCED));
    forwarded(request.body(within)).await;
}

#[tokio::test]
async fn token_of_a_trusted_issuer_is_not_forwarded() {
    let received = forwarded(Http::good_batch(ENFORCED)).await;
    assert_eq!(received.all("Authorization"), [""; 0]);
    // Of a source that needs none, too.
    let received = forwarded(Http::batch(UNENFORCED).bearer(&token(ENFORCED))).await;
    assert_eq!(received.all("Authorization"), [""; 0]);
}

#[tokio::test]
async fn token_is_forwarded_where_forward_token_is_set() {
    let received = forwarded_with(
        |setup| setup.config.apis[0].forward_token = true,
        Http::good_batch(ENFORCED),
    )
    .await;
    assert_eq!(
        received.one("Authorization"),
        format!("Bearer {}", token(ENFORCED))
    );
}

#[tokio::test]
async fn basic_credential_is_forwarded() {
    let received = forwarded(Http::batch(UNENFORCED).basic(&write_key(UNENFORCED))).await;
    assert_eq!(
        format!("Authorization: {}", received.one("Authorization")),
        basic(&write_key(UNENFORCED))
    );
}

/// Decoders differ in what they take: Node's, Python's and Java's read some of these, and all of them find the
/// key of a source that is enforced.
#[tokio::test]
async fn basic_that_only_some_decoders_read_is_ambiguous() {
    let padded = |user: &str| {
        let pair = |more: usize| STANDARD.encode(format!("{user}:{}", "?".repeat(more)));
        (0..3).map(pair).find(|pair| pair.ends_with("==")).unwrap()
    };
    let good = padded(&write_key(ENFORCED));
    let bare = good.trim_end_matches('=');
    // The last letter carries four bits that belong to no byte.
    let (most, last) = bare.split_at(bare.len() - 1);
    let spare = match last {
        "A" => "B",
        "Q" => "R",
        "g" => "h",
        _ => "x",
    };
    let other_alphabet = URL_SAFE.encode(format!("{}:\u{fffd}??>>", write_key(ENFORCED)));
    assert!(other_alphabet.contains(['-', '_']));
    for credential in [
        format!("Basic {bare}"),
        format!("basic {bare}="),
        format!("Basic {most}{spare}=="),
        format!("Basic {most}{spare}"),
        format!("Basic {other_alphabet}"),
        format!("Basic {good}!"),
        format!("Basic  {bare}"),
        format!("Basic{good}"),
        format!("Basic:{good}"),
        good.clone(),
    ] {
        let request = Http::batch(UNENFORCED).header(format!("Authorization: {credential}"));
        assert_refused(request, 400, "source_ambiguous").await;
    }
    // A complete credential is read and compared.
    let whole = Http::batch(UNENFORCED).header(format!("Authorization: Basic {good}"));
    assert_refused(whole, 400, "source_ambiguous").await;
}

/// What clients send where no token is needed.
#[tokio::test]
async fn bearer_that_is_none_of_ours_names_no_source() {
    for credential in ["Bearer", "Bearer sgp_opaque", "bearer undefined"] {
        let request = Http::batch(UNENFORCED).header(format!("Authorization: {credential}"));
        assert_eq!(forwarded(request).await.one("Authorization"), credential);
    }
}

#[tokio::test]
async fn scopes_that_the_app_lost_are_not_told() {
    let token = token_for(ENFORCED, &format!("a:gone {SCOPE} z:gone"));
    let received = forwarded(Http::batch(ENFORCED).bearer(&token)).await;
    assert_eq!(received.one("X-Portcullis-Scope"), SCOPE);
    let token = token_for(ENFORCED, &format!("{PUBLIC_SCOPE} {SCOPE} z:gone"));
    let received = forwarded(Http::batch(ENFORCED).bearer(&token)).await;
    assert_eq!(
        received.one("X-Portcullis-Scope"),
        format!("{PUBLIC_SCOPE} {SCOPE}")
    );
}

#[tokio::test]
async fn opaque_token_goes_on_where_the_upstream_knows_its_own() {
    let opaque = format!("sgp_{}", "a".repeat(64));
    let received = forwarded(Http::new("GET", "public.test", "/sources").bearer(&opaque)).await;
    assert_eq!(received.one("Authorization"), format!("Bearer {opaque}"));
    assert_eq!(received.one("X-Portcullis-Decision"), "unenforced");
}

#[tokio::test]
async fn token_of_ours_is_judged_where_the_upstream_knows_its_own() {
    let received =
        forwarded(Http::new("GET", "public.test", "/sources").bearer(&token_for(ENFORCED, PUBLIC_SCOPE)))
            .await;
    assert_eq!(received.one("X-Portcullis-Decision"), "enforced");
    assert_eq!(
        received.one("X-Portcullis-App-Id"),
        crate::forge::app_id(ENFORCED)
    );
}

#[tokio::test]
async fn more_than_one_credential_is_a_conflict_everywhere() {
    let good = token_for(ENFORCED, PUBLIC_SCOPE);
    let lines = [
        vec![
            format!("Authorization: Bearer {good}"),
            "Authorization: Bearer sgp_other".to_owned(),
        ],
        vec![basic("one"), format!("authorization: Bearer {good}")],
        vec![format!("Authorization: Bearer {good}, Bearer sgp_other")],
        vec![format!("Authorization: Bearer {good},Basic b25lOg==")],
        vec![format!("Authorization: Basic b25lOg==, Bearer {good}")],
        vec![format!("Authorization: Bearer {good} {good}")],
        vec![format!("Authorization: Bearer\t{good}")],
        vec![format!("Authorization: Bearer {good}\tx")],
        vec!["Authorization: Basic\tb25lOg==".to_owned()],
    ];
    for (place, lines) in lines.into_iter().enumerate() {
        for request in [
            Http::new("GET", "public.test", "/sources"),
            Http::new("POST", "tracking.test", "/v1/batch").body(batch(UNENFORCED)),
        ] {
            let request = lines.iter().cloned().fold(request, Http::header);
            let upstream = StubUpstream::start();
            let gateway = Setup::new(&upstream).start().await;
            let answer = gateway.send(&request).await;
            let body = String::from_utf8_lossy(&answer.body);
            let said = (answer.status, body.contains("credentials_conflict"));
            assert_eq!(said, (400, true), "{place}: {}", request.headers[0]);
            upstream.assert_untouched();
        }
    }
}

#[tokio::test]
async fn token_in_query_or_form_is_refused() {
    let token = token(ENFORCED);
    for query in [
        format!("access_token={token}"),
        format!("a=b&access_token={token}"),
        format!("access%5Ftoken={token}"),
        format!("ACCESS_TOKEN={token}"),
        "access_token".to_owned(),
    ] {
        let target = format!("/v1/batch?{query}");
        let batch = Http::new("POST", "tracking.test", &target).body(batch(ENFORCED));
        assert_refused(batch.clone(), 400, "credentials_conflict").await;
        assert_refused(batch.bearer(&token), 400, "credentials_conflict").await;
    }
    for form in [
        format!("access_token={token}"),
        format!("a=b&access%5ftoken={token}"),
    ] {
        let target = format!("/?b={}", write_key(ENFORCED));
        let form = function(&target)
            .header("Content-Type: Application/X-WWW-Form-Urlencoded; charset=utf-8")
            .body(form);
        assert_refused(form, 400, "credentials_conflict").await;
    }
}

#[tokio::test]
async fn token_in_a_json_body_is_no_token() {
    let body = format!(
        r#"{{"access_token":"{}","writeKey":"{}"}}"#,
        token(ENFORCED),
        write_key(ENFORCED)
    );
    let request = Http::new("POST", "tracking.test", "/v1/batch").body(body);
    assert_refused(request, 401, "token_missing").await;
}

/// Of where a request came from and what was asked for, the upstream hears from us alone; and nothing of it
/// moves the decision.
#[tokio::test]
async fn what_a_client_claims_of_its_way_here_changes_nothing() {
    let claims = |request: Http| {
        [
            "Forwarded: for=10.0.0.1;host=public.test;proto=https",
            "X-Forwarded-For: 10.0.0.1",
            "X_Forwarded_For: 10.0.0.1",
            "X-Forwarded-Host: public.test",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Port: 443",
            "X-Forwarded-Prefix: /admin",
            "X-Forwarded-Uri: /admin",
            "X-Original-URL: /admin",
            "X-Rewrite-Url: /admin",
            "X_Original_URL: /admin",
            "X-Real-IP: 10.0.0.1",
            "Content_Length: 1",
            "Transfer_Encoding: chunked",
        ]
        .into_iter()
        .fold(request, Http::header)
    };
    let received = forwarded(claims(Http::good_batch(ENFORCED))).await;
    assert_eq!(received.target, "/v1/batch");
    let told = |name: &str| received.all(name).join(" | ");
    assert_eq!(told("X-Forwarded-For"), "127.0.0.1");
    assert_eq!(told("X-Forwarded-Host"), "tracking.test");
    assert_eq!(told("X-Forwarded-Proto"), "http");
    let claimed = ["10.0.0.1", "/admin", "public.test", "443"];
    let spoofed = |value: &str| claimed.iter().any(|claimed| value.contains(claimed));
    assert!(
        !received.headers.iter().any(|(_, value)| spoofed(value)),
        "{:?}",
        received.headers
    );
    let twins = received.headers.iter().filter(|(name, _)| name.contains('_'));
    assert_eq!(twins.count(), 0, "{:?}", received.headers);
    assert_refused(claims(Http::batch(ENFORCED)), 401, "token_missing").await;
}
