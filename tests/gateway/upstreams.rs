//! Upstream servers that are down, come back, do not resolve, or close connections: what requests get, what the operator
//! reads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use portcullis::config::HealthCheck;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::certs::Authority;
use crate::forwarding::tls_setup;
use crate::gateway::{ENFORCED, Http, Setup, TestGateway, pool, shared};
use crate::panics::log;
use crate::upstream::{Reply, ReservedPort, StubUpstream};
use crate::wait::until;

fn get() -> Http {
    Http::new("GET", "public.test", "/things")
}

/// The lines of the log about one server, from the moment it is watched on: its port may have been another test's before.
struct ServerLog {
    about: String,
    begins_at: usize,
}

impl ServerLog {
    fn watch(server: SocketAddr) -> Self {
        Self {
            about: format!("\"server\":\"{server}\""),
            begins_at: log().lock().unwrap().len(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let log = log().lock().unwrap();
        let text = String::from_utf8_lossy(&log[self.begins_at..]).into_owned();
        text.lines()
            .filter(|line| line.contains(&self.about))
            .map(str::to_owned)
            .collect()
    }
}

fn up(gateway: &TestGateway, server: &str) -> f64 {
    gateway.metric(
        "portcullis_upstream_up",
        &[("upstream", "main"), ("server", server)],
    )
}

async fn statuses(gateway: &TestGateway, count: usize) -> Vec<u16> {
    let batch = Http::good_batch(ENFORCED);
    let sent = (0..count).map(|_| gateway.send(&batch));
    join_all(sent).await.iter().map(|answer| answer.status).collect()
}

/// Field row 2: the turns of other requests must not lead a retry back to the server that failed.
#[tokio::test]
async fn retry_goes_to_another_server_whatever_others_draw() {
    let (down, up) = (ReservedPort::new(), StubUpstream::start());
    let gateway = Setup::to(&[down.address(), up.address()]).start().await;
    for _ in 0..12 {
        assert_eq!(statuses(&gateway, 16).await, [200; 16]);
    }
    assert_eq!(up.received().len(), 12 * 16);
}

#[tokio::test]
async fn third_server_is_tried_when_two_are_down() {
    let down = [ReservedPort::new(), ReservedPort::new()];
    let up = StubUpstream::start();
    for order in 0..3 {
        let mut servers = vec![down[0].address(), down[1].address()];
        servers.insert(order, up.address());
        let gateway = Setup::to(&servers).start().await;
        assert_eq!(statuses(&gateway, 16).await, [200; 16]);
    }
}

#[tokio::test]
async fn name_that_does_not_resolve_costs_its_own_api() {
    let log_before = log().lock().unwrap().len();
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    let mut unresolved = pool(&[]);
    unresolved.servers = vec!["not-yet.invalid:80".to_owned()];
    setup.config.upstreams.insert("elsewhere".to_owned(), unresolved);
    setup.config.apis[2].upstream = "elsewhere".to_owned();
    let gateway = setup.start().await;
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    let answer = gateway.send(&get()).await;
    assert_eq!(answer.status, 502);
    let labels = [("upstream", "elsewhere"), ("server", "not-yet.invalid:80")];
    assert_eq!(gateway.metric("portcullis_upstream_up", &labels), 0.0);
    let log = String::from_utf8_lossy(&log().lock().unwrap()[log_before..]).into_owned();
    let warned = log
        .lines()
        .filter(|line| line.contains("\"upstream\":\"elsewhere\""));
    let warned: Vec<&str> = warned.collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(
        warned[0].contains("does not resolve") && warned[0].contains("WARN"),
        "{warned:?}"
    );
}

#[tokio::test]
async fn name_that_does_not_resolve_leaves_the_other_servers() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.upstream().servers.push("not-yet.invalid:80".to_owned());
    let gateway = setup.start().await;
    assert_eq!(statuses(&gateway, 8).await, [200; 8]);
}

#[tokio::test]
async fn server_named_by_a_host_name_is_resolved_before_the_first_request() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.upstream().servers = vec![format!("localhost:{}", upstream.address().port())];
    let gateway = setup.start().await;
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
}

#[tokio::test]
async fn log_and_metric_tell_when_a_server_goes_and_comes_back() {
    let port = ReservedPort::new();
    let log = ServerLog::watch(port.address());
    let server = port.address().to_string();
    let gateway = Setup::to(&[port.address()]).start().await;
    assert_eq!(up(&gateway, &server), 1.0);
    for _ in 0..3 {
        let answer = gateway.send(&Http::good_batch(ENFORCED)).await;
        answer.assert_denied(502, "upstream_unavailable");
    }
    assert_eq!(up(&gateway, &server), 0.0);
    let down = log.lines();
    assert_eq!(down.len(), 1, "one line for each change: {down:?}");
    assert!(down[0].contains("WARN") && down[0].contains("upstream server is down"));
    assert!(down[0].contains("connection refused"), "{down:?}");
    let _up = StubUpstream::answering_on(port, |_| Reply::ok());
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    until("the server is back", || log.lines().len() > 1).await;
    assert_eq!(up(&gateway, &server), 1.0);
    let all = log.lines();
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all[1].contains("INFO") && all[1].contains("upstream server is back"));
    // An upstream's trouble is no denial.
    let requests = |decision| {
        let labels = [
            ("api", "tracking"),
            ("decision", decision),
            ("reason", "upstream_unavailable"),
        ];
        gateway.metric("portcullis_requests_total", &labels)
    };
    assert_eq!((requests("error"), requests("deny")), (3.0, 0.0));
}

/// A server that treats each connection as told, behind a listener of its own.
async fn each_connection<F>(serve: impl Fn(tokio::net::TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn read_batch(stream: &mut tokio::net::TcpStream) -> bool {
    let mut held = Vec::new();
    while !held.ends_with(b"}") {
        if !matches!(stream.read_buf(&mut held).await, Ok(1..)) {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn cause_of_a_failed_exchange_is_in_the_log() {
    let reset = each_connection(|mut stream| async move {
        read_batch(&mut stream).await;
        stream.set_zero_linger().unwrap();
    });
    let closed = each_connection(|mut stream| async move {
        read_batch(&mut stream).await;
    });
    let garbage = each_connection(|mut stream| async move {
        read_batch(&mut stream).await;
        let _ = stream
            .write_all(b"SSH-2.0-OpenSSH_9.9 secret-banner\r\n\r\n")
            .await;
    });
    let silent = each_connection(|mut stream| async move {
        read_batch(&mut stream).await;
        let _ = stream.read_u8().await;
    });
    for (server, status, cause) in [
        (reset.await, 502, "connection reset before the response"),
        (closed.await, 502, "connection closed before the response"),
        (
            garbage.await,
            502,
            "malformed response: it begins with no status line",
        ),
        (silent.await, 504, "response timed out after 200ms"),
    ] {
        let mut setup = Setup::to(&[server]);
        setup.upstream().timeouts.read = Duration::from_millis(200);
        let log = ServerLog::watch(server);
        let gateway = setup.start().await;
        let answer = gateway.send(&Http::good_batch(ENFORCED)).await;
        assert_eq!(answer.status, status, "{cause}");
        let lines = log.lines();
        assert!(lines.len() == 1 && lines[0].contains(cause), "{cause}: {lines:?}");
        assert!(!lines[0].contains("secret-banner"));
    }
}

#[tokio::test]
async fn cause_of_a_failed_tls_handshake_is_in_the_log() {
    let authority = Authority::new();
    let other = Authority::new();
    for (trusted, name, cause) in [
        (
            &authority,
            "other.test",
            "certificate is not valid for `other.test`",
        ),
        (&other, "upstream.test", "certificate not trusted: "),
    ] {
        let upstream = StubUpstream::tls(authority.issue("upstream.test").acceptor(), |_| Reply::ok());
        let log = ServerLog::watch(upstream.address());
        let gateway = tls_setup(&upstream, trusted, name).start().await;
        let answer = gateway.send(&Http::good_batch(ENFORCED)).await;
        answer.assert_denied(502, "upstream_unavailable");
        let lines = log.lines();
        assert!(lines.len() == 1 && lines[0].contains(cause), "{cause}: {lines:?}");
    }
    let plain = StubUpstream::start();
    let log = ServerLog::watch(plain.address());
    let gateway = tls_setup(&plain, &authority, "upstream.test").start().await;
    assert_eq!(gateway.send(&Http::good_batch(ENFORCED)).await.status, 502);
    let lines = log.lines();
    assert!(lines[0].contains("TLS handshake failed"), "{lines:?}");
}

fn check(path: &str, host: Option<&str>) -> HealthCheck {
    HealthCheck {
        path: Some(path.to_owned()),
        host: host.map(str::to_owned),
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(10),
        healthy_after: 1,
        unhealthy_after: 1,
    }
}

#[tokio::test]
async fn health_check_sends_the_host_of_its_server() {
    for host in [None, Some("api.example.test")] {
        let upstream = StubUpstream::start();
        let mut setup = Setup::new(&upstream);
        setup.upstream().health_check = Some(check("/healthz", host));
        let _gateway = setup.start().await;
        upstream.until_received(2).await;
        let own = upstream.address().to_string();
        for probe in upstream.received() {
            assert_eq!(probe.one("Host"), host.unwrap_or(&own));
            assert!(probe.one("User-Agent").starts_with("portcullis/"));
        }
    }
}

#[tokio::test]
async fn failed_health_check_is_logged_once_with_its_cause() {
    let is_well = shared(true);
    let held = is_well.clone();
    let upstream = StubUpstream::answering(move |_| match *held.lock() {
        true => Reply::ok(),
        false => Reply::text("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"),
    });
    let log = ServerLog::watch(upstream.address());
    let server = upstream.address().to_string();
    let mut setup = Setup::new(&upstream);
    setup.upstream().health_check = Some(check("/healthz", None));
    let gateway = setup.start().await;
    *is_well.lock() = false;
    until("the server is out", || up(&gateway, &server) == 0.0).await;
    let probes = upstream.received().len();
    upstream.until_received(probes + 3).await;
    *is_well.lock() = true;
    until("the server is back", || log.lines().len() > 1).await;
    assert_eq!(up(&gateway, &server), 1.0);
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains("health check got status 503, expected 200"),
        "{lines:?}"
    );
}

/// A server that answers one request of a connection, reads the next one and closes.
async fn closing_at_the_second() -> (SocketAddr, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    let address = each_connection(move |mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            let mut held = vec![0; 16 << 10];
            let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            if matches!(stream.read(&mut held).await, Ok(1..)) {
                seen.fetch_add(1, Ordering::SeqCst);
                stream.write_all(ok).await.unwrap();
            }
            if matches!(stream.read(&mut held).await, Ok(1..)) {
                seen.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    (address, requests)
}

#[tokio::test]
async fn idempotent_request_on_a_closing_connection_is_sent_once_more() {
    for request in [
        get(),
        Http::new("DELETE", "public.test", "/things"),
        Http::new("PUT", "public.test", "/things").body("{}"),
        Http::good_batch(ENFORCED).header("Idempotency-Key: 1"),
    ] {
        let (address, requests) = closing_at_the_second().await;
        let gateway = Setup::to(&[address]).start().await;
        gateway.send(&request).await.assert_ok();
        gateway.send(&request).await.assert_ok();
        // One on the kept connection, and again on a new one.
        assert_eq!(requests.load(Ordering::SeqCst), 3);
    }
}

#[tokio::test]
async fn request_that_is_not_idempotent_is_never_sent_twice() {
    for request in [
        Http::good_batch(ENFORCED),
        Http::new("PATCH", "public.test", "/things").body("{}"),
    ] {
        let (address, requests) = closing_at_the_second().await;
        let gateway = Setup::to(&[address]).start().await;
        gateway.send(&request).await.assert_ok();
        assert_eq!(gateway.send(&request).await.status, 502);
        assert_eq!(requests.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn request_is_repeated_once_at_most() {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    let address = each_connection(move |mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            let mut held = vec![0; 16 << 10];
            let is_first = seen.fetch_add(1, Ordering::SeqCst) == 0;
            let _ = stream.read(&mut held).await;
            if is_first {
                let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                stream.write_all(ok).await.unwrap();
                let _ = stream.read(&mut held).await;
            }
        }
    })
    .await;
    let gateway = Setup::to(&[address]).start().await;
    gateway.send(&get()).await.assert_ok();
    assert_eq!(gateway.send(&get()).await.status, 502);
    assert_eq!(requests.load(Ordering::SeqCst), 2, "connections");
}

/// Field row 30: a server that says how long it keeps connections is taken at its word.
#[tokio::test]
async fn keep_alive_timeout_of_the_server_bounds_the_reuse() {
    for (header, connections) in [
        ("Keep-Alive: timeout=60", 1),
        ("Keep-Alive: timeout=0", 3),
        ("Keep-Alive: timeout=5, max=0", 3),
        ("Connection: close", 3),
    ] {
        let upstream = StubUpstream::answering(move |_| {
            Reply::text(&format!(
                "HTTP/1.1 200 OK\r\n{header}\r\nContent-Length: 2\r\n\r\n{{}}"
            ))
        });
        let gateway = Setup::new(&upstream).start().await;
        for _ in 0..3 {
            gateway.send(&get()).await.assert_ok();
        }
        assert_eq!(upstream.connections(), connections, "{header}");
    }
}

#[tokio::test]
async fn unused_connection_is_closed_before_its_server_does() {
    let closed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&closed);
    let address = each_connection(move |mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            let mut held = vec![0; 16 << 10];
            let _ = stream.read(&mut held).await;
            let ok = b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\n{}";
            stream.write_all(ok).await.unwrap();
            seen.store(matches!(stream.read(&mut held).await, Ok(0)), Ordering::SeqCst);
        }
    })
    .await;
    let gateway = Setup::to(&[address]).start().await;
    gateway.send(&get()).await.assert_ok();
    until("the gateway closed the connection", || {
        closed.load(Ordering::SeqCst)
    })
    .await;
}

#[tokio::test]
async fn responses_are_counted_by_class() {
    let upstream = StubUpstream::answering(|request| match request.target.as_str() {
        "/cut" => Reply::BytesThenClose(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_vec()),
        target => {
            let status = target.trim_start_matches('/');
            Reply::text(&format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"))
        }
    });
    let gateway = Setup::new(&upstream).start().await;
    let counted = |class| {
        let labels = [("api", "public"), ("code_class", class)];
        gateway.metric("portcullis_responses_total", &labels)
    };
    let classes = ["2xx", "3xx", "4xx", "5xx", "cut"];
    let families = gateway.registry.gather();
    let family = families
        .iter()
        .find(|family| family.name() == "portcullis_responses_total")
        .unwrap();
    assert_eq!(
        family.get_metric().len(),
        4 * classes.len(),
        "all there from the start"
    );
    for target in ["/200", "/204", "/302", "/404", "/500", "/503", "/cut"] {
        gateway.send(&Http::new("GET", "public.test", target)).await;
    }
    until("all are counted", || {
        classes.map(counted) == [2.0, 1.0, 1.0, 2.0, 1.0]
    })
    .await;
    gateway.send(&Http::batch(ENFORCED)).await;
    let denied = [("api", "tracking"), ("code_class", "4xx")];
    until("the denial is counted", || {
        gateway.metric("portcullis_responses_total", &denied) == 1.0
    })
    .await;
}
