//! Identity headers that a client sends do not reach the upstream.

use portcullis::domain::facts::UnknownSources;

use super::{forwarded, forwarded_with, source_id};
use crate::client::H1;
use crate::forge::SCOPE;
use crate::gateway::{ENFORCED, Http, Setup, UNENFORCED};
use crate::upstream::{Received, StubUpstream};

/// Every spelling that some server behind the gateway could take for an identity header.
const SPOOFED: [&str; 28] = [
    "X.Portcullis.Source.Id: spoofed",
    "X~Portcullis-App-Id: spoofed",
    "XPortcullisScope: spoofed",
    "X.Forwarded.For: spoofed",
    "X'Request!Id: spoofed",
    "X-Portcullis-Source-Id: spoofed",
    "x-portcullis-source-id: spoofed",
    "X_PORTCULLIS_SOURCE_ID: spoofed",
    "x_portcullis_source_id: spoofed",
    "X-Portcullis_Source-Id: spoofed",
    "X_Portcullis-App-Id: spoofed",
    "X-Portcullis-App-Id: spoofed",
    "X-Portcullis-Workspace-Id: spoofed",
    "X-Portcullis-Scope: spoofed",
    "X-Portcullis-Decision: spoofed",
    "X-Portcullis-Anything-Else: spoofed",
    "X-Request-Id: spoofed",
    "X_Request_Id: spoofed",
    "X-Forwarded-For: spoofed",
    "X-Forwarded_Host: spoofed",
    "X_Forwarded_Proto: spoofed",
    "X-Original-URI: spoofed",
    "X_Original-Host: spoofed",
    "X-Envoy-Original-Path: spoofed",
    "True-Client-IP: spoofed",
    "True_Client_Ip: spoofed",
    "X-Client-IP: spoofed",
    "CF-Connecting-IP: spoofed",
];

fn spoofing(request: Http) -> Http {
    SPOOFED.into_iter().fold(request, Http::header)
}

#[track_caller]
fn assert_not_spoofed(received: &Received) {
    for (name, value) in &received.headers {
        assert_ne!(value, "spoofed", "{name}");
    }
}

#[tokio::test]
async fn identity_headers_of_a_client_are_replaced() {
    let received = forwarded(spoofing(Http::good_batch(ENFORCED))).await;
    assert_not_spoofed(&received);
    assert_eq!(received.one("X-Portcullis-Source-Id"), source_id(ENFORCED));
    assert_eq!(
        received.one("X-Portcullis-App-Id"),
        crate::forge::app_id(ENFORCED)
    );
    assert_eq!(received.one("X-Portcullis-Workspace-Id"), "ws-1");
    assert_eq!(received.one("X-Portcullis-Scope"), SCOPE);
    assert_eq!(received.one("X-Portcullis-Decision"), "enforced");
    assert_eq!(received.one("X-Forwarded-For"), "127.0.0.1");
    assert_eq!(received.one("X-Forwarded-Proto"), "http");
    assert_eq!(received.one("X-Forwarded-Host"), "tracking.test");
    assert!(received.one("X-Request-Id").len() > 20);
}

#[tokio::test]
async fn identity_is_stripped_from_requests_that_have_none() {
    let unenforced = forwarded(spoofing(Http::batch(UNENFORCED))).await;
    assert_not_spoofed(&unenforced);
    assert_eq!(unenforced.one("X-Portcullis-Decision"), "unenforced");
    assert_eq!(unenforced.all("X-Portcullis-App-Id"), [""; 0]);
    let without_token = forwarded(spoofing(Http::new("GET", "public.test", "/sources"))).await;
    assert_not_spoofed(&without_token);
    assert_eq!(without_token.all("X-Portcullis-Source-Id"), [""; 0]);
    let unknown = forwarded_with(
        |setup| setup.config.apis[0].unknown_sources = UnknownSources::Forward,
        spoofing(Http::batch(77)),
    )
    .await;
    assert_not_spoofed(&unknown);
    assert_eq!(unknown.all("X-Portcullis-Source-Id"), [""; 0]);
}

#[tokio::test]
async fn upstream_gets_a_request_id_for_each_request() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    for _ in 0..2 {
        client.send(&Http::good_batch(ENFORCED).bytes()).await;
        client.answer().await.assert_ok();
    }
    let received = upstream.received();
    assert_ne!(received[0].one("X-Request-Id"), received[1].one("X-Request-Id"));
}
