//! A request names one source, in every place where servers behind the gateway may look, listed in `identify` or not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis::config::Identify;

use crate::forge::write_key;
use crate::gateway::{ENFORCED, FUNCTIONS_SCOPE, Http, OTHER, Setup, UNENFORCED, batch, token_for};
use crate::upstream::StubUpstream;

fn track(query: &str) -> Http {
    Http::new("POST", "tracking.test", &format!("/v1/track{query}")).body(batch(UNENFORCED))
}

/// Receivers that read the query first take such a request for the enforced source's.
#[tokio::test]
async fn place_that_is_not_listed_must_not_name_another_source() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    for n in [ENFORCED, OTHER] {
        let key = write_key(n);
        let basic = STANDARD.encode(format!("{key}:"));
        for request in [
            track(&format!("?writeKey={key}")),
            track(&format!("?a=1;WRITEKEY[]=%20{key}")),
            track(&format!("?b={key}")),
            track("").header(format!("X-Write-Key: {key}")),
            track("").header(format!("X.Write_Key: {key}")),
            track("").header(format!("X-Segment-Source-Function-Token: {key}")),
            track("").header(format!("Authorization: Bearer {key}")),
            track("").header(format!("Authorization: DPoP {basic}")),
        ] {
            let answer = gateway.send(&request).await;
            answer.assert_denied(400, "source_ambiguous");
            let sentence = answer.json()["error_description"].to_string();
            assert!(sentence.contains("names another source"), "{sentence}");
        }
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn place_that_is_not_listed_may_name_the_same_source_or_none() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let key = write_key(UNENFORCED);
    for request in [
        track(&format!("?writeKey={key}")),
        track("?writeKey=nobody&b=1"),
        track("").header(format!("X-Write-Key: {key}")),
        track("").header("X-Write-Key: unknown"),
        track("").header("Authorization: Bearer opaque"),
    ] {
        gateway.send(&request).await.assert_ok();
    }
}

/// A function's body is anybody's, but it must not carry another source's key.
#[tokio::test]
async fn body_that_is_not_listed_must_not_name_another_source() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let call = |body: String| {
        Http::new("POST", "functions.test", &format!("/?b={}", write_key(ENFORCED)))
            .bearer(&token_for(ENFORCED, FUNCTIONS_SCOPE))
            .body(body)
    };
    let form = |key: String| {
        call(format!("a=b&writeKey={key}")).header("Content-Type: application/x-www-form-urlencoded")
    };
    for request in [call(batch(OTHER)), form(write_key(OTHER))] {
        gateway
            .send(&request)
            .await
            .assert_denied(400, "source_ambiguous");
    }
    upstream.assert_untouched();
    for request in [
        call(batch(ENFORCED)),
        call(batch(77)),
        call("not JSON".to_owned()),
        form(write_key(ENFORCED)),
    ] {
        gateway.send(&request).await.assert_ok();
    }
}

/// RudderStack's browser SDK with beacons.
#[tokio::test]
async fn query_and_body_that_are_listed_must_agree() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.apis[0]
        .identify
        .insert(0, Identify::Query("writeKey".to_owned()));
    let gateway = setup.start().await;
    let request = track(&format!("?writeKey={}", write_key(OTHER)));
    gateway
        .send(&request)
        .await
        .assert_denied(400, "source_ambiguous");
    upstream.assert_untouched();
    let request = track(&format!("?writeKey={}", write_key(UNENFORCED)));
    gateway.send(&request).await.assert_ok();
}
