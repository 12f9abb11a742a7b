//! A panic ends the request in which it happens, and nothing else. Here the clock panics, which each decision reads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use http::Request;
use portcullis::clock::MadeClock;
use portcullis::telemetry::{record_panics, show_panics};

use crate::client::{H1, H2};
use crate::forge::NOW;
use crate::gateway::{ENFORCED, Http, Setup, TestGateway, shared, token};
use crate::upstream::{Reply, StubUpstream};
use crate::wait::until;

/// A gateway whose next decisions panic, as many as the number says. What a panic says quotes a secret.
async fn start(upstream: &StubUpstream) -> (TestGateway, Arc<AtomicUsize>) {
    record();
    let panics = Arc::new(AtomicUsize::new(0));
    let left = Arc::clone(&panics);
    let mut setup = Setup::new(upstream);
    setup.made_clock = Some(MadeClock::of(move || {
        let one_less = |left: usize| left.checked_sub(1);
        if serves()
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
                .is_ok()
        {
            panic!("a request with the token {SECRET}", SECRET = token(ENFORCED));
        }
        NOW
    }));
    let gateway = setup.start().await;
    show_panics(&gateway.registry).unwrap();
    (gateway, panics)
}

/// Whether this thread serves requests. Background tasks run on the test's own.
fn serves() -> bool {
    std::thread::current().name() == Some("gateway")
}

/// Records panics as the product does. Those of the tests themselves are still told as tests tell them.
fn record() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let telling = std::panic::take_hook();
        record_panics();
        let recording = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            recording(panic);
            if !serves() {
                telling(panic);
            }
        }));
    });
}

/// What every gateway of this process has logged.
pub fn log() -> &'static Mutex<Vec<u8>> {
    static LOG: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
    LOG.get_or_init(|| {
        struct Into;
        impl std::io::Write for Into {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                log().lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let subscriber = tracing_subscriber::fmt().json().with_writer(|| Into).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        Mutex::default()
    })
}

/// The only test of this program that panics: what it counts is counted for the process.
#[tokio::test]
async fn panic_in_one_request_harms_no_other() {
    log();
    let held = shared(true);
    let hold = Arc::clone(&held);
    let upstream = StubUpstream::answering(move |request| match request.target == "/held" && *hold.lock() {
        true => Reply::Hang,
        false => Reply::ok(),
    });
    let (gateway, panics) = start(&upstream).await;
    let good = Http::good_batch(ENFORCED).bytes();
    let counted = || gateway.metric("portcullis_panics_total", &[]);
    let before = counted();
    let log_before = log().lock().unwrap().len();

    // Others: a kept connection, a request that waits for its upstream, and an HTTP/2 connection with streams.
    let mut kept = H1::connect(gateway.address()).await;
    kept.send(&good).await;
    kept.answer().await.assert_ok();
    let mut waiting = H1::connect(gateway.address()).await;
    waiting
        .send(&Http::new("GET", "public.test", "/held").bytes())
        .await;
    upstream.until_received(2).await;
    let streams = H2::connect(gateway.address()).await;
    let things = || {
        Request::builder()
            .uri("http://public.test/things")
            .body(())
            .unwrap()
    };
    streams.get(things()).await.assert_ok();

    for _ in 0..20 {
        panics.store(1, Ordering::SeqCst);
        let mut client = H1::connect(gateway.address()).await;
        client.send(&good).await;
        client.assert_closed().await;
        panics.store(1, Ordering::SeqCst);
        let reset = streams.exchange(things(), b"", 1).await;
        assert!(reset.is_err(), "{reset:?}");
        streams.get(things()).await.assert_ok();
    }
    assert_eq!(panics.load(Ordering::SeqCst), 0);
    assert_eq!(counted() - before, 40.0);
    // None of those that panicked went on.
    assert_eq!(upstream.received().len(), 3 + 20);

    kept.send(&good).await;
    kept.answer().await.assert_ok();
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    until("the connections that panicked are gone", || {
        gateway.open_connections() == 3.0
    })
    .await;
    assert_eq!(gateway.metric("portcullis_held_body_bytes", &[]), 0.0);
    *held.lock() = false;
    drop(waiting);

    let log = String::from_utf8(log().lock().unwrap()[log_before..].to_vec()).unwrap();
    let records: Vec<&str> = log.lines().filter(|line| line.contains("a panic")).collect();
    assert_eq!(records.len(), 40, "{records:?}");
    for record in records {
        assert!(
            record.contains("ERROR") && record.contains("panics.rs:"),
            "{record}"
        );
        assert!(
            !record.contains(&token(ENFORCED)),
            "the record quotes the request"
        );
    }
    drop(kept);
}
