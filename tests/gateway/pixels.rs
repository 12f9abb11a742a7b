//! Image requests of e-mails: a source by `data`, base64 of one JSON object, or by `writeKey`.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis::config::Identify;

use crate::forge::write_key;
use crate::gateway::{ENFORCED, Http, OTHER, Setup, TestGateway, UNENFORCED};
use crate::upstream::StubUpstream;

async fn with_pixels(upstream: &StubUpstream) -> TestGateway {
    let mut setup = Setup::new(upstream);
    setup.config.apis[0].identify.push(Identify::Pixel);
    setup.start().await
}

fn event(n: usize) -> String {
    let key = write_key(n);
    format!(r#"{{"writeKey":"{key}","userId":"025pikachu025","event":"Email Opened"}}"#)
}

fn escaped(base64: &str) -> String {
    base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

fn pixel(query: &str) -> Http {
    Http::new("GET", "tracking.test", &format!("/v1/pixel/track?{query}"))
}

fn data(n: usize) -> String {
    format!("data={}", escaped(&STANDARD.encode(event(n))))
}

#[tokio::test]
async fn source_is_read_from_a_pixel() {
    let upstream = StubUpstream::start();
    let gateway = with_pixels(&upstream).await;
    let key = write_key(UNENFORCED);
    for query in [
        data(UNENFORCED),
        format!("data={}", URL_SAFE_NO_PAD.encode(event(UNENFORCED))),
        format!("writeKey={key}"),
        format!("writeKey={key}&{}", data(UNENFORCED)),
    ] {
        let answer = gateway.send(&pixel(&query)).await;
        answer.assert_ok();
    }
    for received in upstream.received() {
        assert_eq!(
            received.one("X-Portcullis-Source-Id"),
            format!("src_{UNENFORCED:032x}")
        );
    }
}

#[tokio::test]
async fn pixel_of_an_enforced_source_is_refused() {
    let upstream = StubUpstream::start();
    let gateway = with_pixels(&upstream).await;
    for query in [data(ENFORCED), format!("writeKey={}", write_key(ENFORCED))] {
        gateway
            .send(&pixel(&query))
            .await
            .assert_denied(401, "token_missing");
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn pixel_that_names_two_sources_is_ambiguous() {
    let upstream = StubUpstream::start();
    let gateway = with_pixels(&upstream).await;
    let key = write_key(OTHER);
    let twice = format!(r#"{{"writeKey":"{key}","writekey":"{}"}}"#, write_key(UNENFORCED));
    for query in [
        format!("writeKey={key}&{}", data(UNENFORCED)),
        format!("{}&{}", data(OTHER), data(UNENFORCED)),
        format!("data={}", escaped(&STANDARD.encode(twice))),
        format!("{}&DATA=x", data(UNENFORCED)),
        format!("writekey={}", write_key(UNENFORCED)),
    ] {
        gateway
            .send(&pixel(&query))
            .await
            .assert_denied(400, "source_ambiguous");
    }
    let basic = pixel(&data(UNENFORCED)).basic(&key);
    gateway.send(&basic).await.assert_denied(400, "source_ambiguous");
    upstream.assert_untouched();
}

#[tokio::test]
async fn pixel_data_that_is_no_json_is_refused_with_a_sentence() {
    let upstream = StubUpstream::start();
    let gateway = with_pixels(&upstream).await;
    for query in ["data=", "data=%7B%7D", "data=e30+"] {
        let answer = gateway.send(&pixel(query)).await;
        answer.assert_denied(400, "body_invalid");
        let sentence = answer.json()["error_description"].to_string();
        assert!(sentence.contains("`data` is not base64"), "{sentence}");
    }
    gateway
        .send(&pixel("data=e30%3D"))
        .await
        .assert_denied(400, "source_missing");
    upstream.assert_untouched();
}

/// Where no API looks for pixels, a server may.
#[tokio::test]
async fn pixel_of_an_enforced_source_is_refused_on_every_api() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let spaced = STANDARD.encode(event(ENFORCED)).replacen('J', "%20J", 1);
    for query in [data(ENFORCED), format!("Data[]={spaced}")] {
        let request = Http::new("GET", "public.test", &format!("/pixel/track?{query}"));
        assert_eq!(gateway.send(&request).await.status, 401, "{query}");
        let request = pixel(&query).basic(&write_key(UNENFORCED));
        gateway
            .send(&request)
            .await
            .assert_denied(400, "source_ambiguous");
    }
    upstream.assert_untouched();
}
