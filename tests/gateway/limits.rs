//! Limits: the size, time and number of requests and connections.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::{H1, H2, read_response};
use crate::gateway::{ENFORCED, Http, Setup, batch, token};
use crate::upstream::{Reply, StubUpstream};
use crate::wait::{until, within};

fn head(length: usize) -> Vec<u8> {
    Http::new("POST", "tracking.test", "/v1/batch")
        .bearer(&token(ENFORCED))
        .header(format!("Content-Length: {length}"))
        .bytes()
}

#[tokio::test]
async fn headers_are_counted_and_measured() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.limits.headers = 10;
    setup.config.limits.header_bytes = 4_000;
    let gateway = setup.start().await;
    // Host, Content-Length and Authorization are three of the ten.
    let with = |count: usize| {
        (0..count).fold(Http::good_batch(ENFORCED), |http, n| {
            http.header(format!("X-{n}: a"))
        })
    };
    gateway.send(&with(7)).await.assert_ok();
    gateway
        .send(&with(8))
        .await
        .assert_denied(431, "headers_too_large");
    let large = Http::good_batch(ENFORCED).header(format!("X-Large: {}", "a".repeat(4_000)));
    gateway.send(&large).await.assert_denied(431, "headers_too_large");
    upstream.only();
}

#[tokio::test]
async fn body_that_trickles_is_timed_out_as_a_whole() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.limits.body_timeout = Duration::from_millis(200);
    let gateway = setup.start().await;
    let mut client = H1::connect(gateway.address()).await;
    client.send(&head(1_000_000)).await;
    // Never silent for long: only a bound on the whole ends this.
    let answer = client.trickle_until_answer().await;
    answer.assert_denied(408, "request_timeout");
    upstream.assert_untouched();
}

#[tokio::test]
async fn body_that_stops_is_timed_out_in_http2() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.limits.body_timeout = Duration::from_millis(100);
    let gateway = setup.start().await;
    let request = http::Request::post("http://tracking.test/v1/batch")
        .body(())
        .unwrap();
    let (response, mut sending) = H2::connect(gateway.address()).await.begin(request, false).await;
    sending.send_data("{".into(), false).unwrap();
    let answer = read_response(response).await.unwrap();
    assert_eq!(answer.verdict(), (408, "request_timeout".to_owned()));
    upstream.assert_untouched();
}

#[tokio::test]
async fn head_that_trickles_is_timed_out_as_a_whole() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.limits.header_timeout = Duration::from_millis(100);
    setup.config.limits.idle_timeout = Duration::from_secs(1);
    let gateway = setup.start().await;
    let mut client = H1::connect(gateway.address()).await;
    client.send(b"POST /v1/batch HTTP/1.1\r\nX-Filler: ").await;
    client
        .trickle_until_answer()
        .await
        .assert_denied(408, "request_timeout");
    upstream.assert_untouched();
}

#[tokio::test]
async fn connection_that_says_nothing_is_closed() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.limits.header_timeout = Duration::from_millis(100);
    setup.config.limits.idle_timeout = Duration::from_secs(1);
    let gateway = setup.start().await;
    H1::connect(gateway.address()).await.assert_closed().await;
    let mut client = H1::connect(gateway.address()).await;
    client.send(&Http::good_batch(ENFORCED).bytes()).await;
    client.answer().await.assert_ok();
    client.assert_closed().await;
    upstream.only();
}

#[tokio::test]
async fn silent_connection_is_closed_after_the_header_timeout() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.limits.header_timeout = Duration::from_millis(100);
    // Ten minutes: were this waited out, the test would fail.
    setup.config.limits.idle_timeout = Duration::from_secs(600);
    let gateway = setup.start().await;
    H1::connect(gateway.address()).await.assert_closed().await;
    // Between two requests it is the other time.
    let mut client = H1::connect(gateway.address()).await;
    client.send(&Http::good_batch(ENFORCED).bytes()).await;
    client.answer().await.assert_ok();
    H1::connect(gateway.address()).await.assert_closed().await;
    client.send(&Http::good_batch(ENFORCED).bytes()).await;
    client.answer().await.assert_ok();
}

/// A connection with hardly any room for what comes back.
pub async fn connect_without_room(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    socket.connect(to).await.unwrap()
}

/// What was answered is never read, until there is no room for it any more: in a body's end, or in the chunk
/// behind it.
#[tokio::test]
async fn connection_whose_answers_are_never_read_is_given_up() {
    // With the head this is just less than what is gathered until it is written.
    let filler = "a".repeat(3_500);
    for answer in [
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{filler}",
            filler.len()
        ),
        format!("HTTP/1.1 200 OK\r\nX-Filler: {filler}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ] {
        let (came_in, mut came) = mpsc::unbounded_channel();
        let upstream = StubUpstream::answering(move |_| {
            let _ = came_in.send(());
            Reply::text(&answer)
        });
        let mut setup = Setup::new(&upstream);
        setup.config.limits.body_timeout = Duration::from_millis(200);
        let gateway = setup.start().await;
        let mut client = connect_without_room(gateway.address()).await;
        let small = Http::new("GET", "public.test", "/").bytes();
        client.write_all(&small).await.unwrap();
        came.recv().await.unwrap();
        loop {
            // Only when the one before was read: two at once end a connection.
            let _ = client.write_all(&small).await;
            tokio::select! {
                biased;
                Some(()) = came.recv() => {}
                () = until("the connection is given up", || gateway.open_connections() < 1.0) => break,
            }
        }
    }
}

#[tokio::test]
async fn heads_over_http2_count_among_what_is_held() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.limits.held_bytes_per_client = 100_000;
    let gateway = setup.start().await;
    let client = H2::connect(gateway.address()).await;
    let filler = "a".repeat(20_000);
    let (mut answers, mut bodies) = (JoinSet::new(), Vec::new());
    for _ in 0..10 {
        let request = http::Request::post("http://tracking.test/v1/batch")
            .header("authorization", format!("Bearer {}", token(ENFORCED)))
            .header("x-filler", &filler)
            .body(())
            .unwrap();
        let (response, body) = client.begin(request, false).await;
        answers.spawn(read_response(response));
        bodies.push(body);
    }
    // Three have room to wait for their bodies.
    for _ in 0..7 {
        let answer = within("one is refused", answers.join_next()).await;
        let answer = answer.unwrap().unwrap().unwrap();
        assert_eq!(answer.verdict(), (503, "overloaded".to_owned()));
    }
    assert!(gateway.metric("portcullis_held_body_bytes", &[]) > 60_000.0);
    upstream.assert_untouched();
    drop((client, bodies, answers));
    until("nothing is held", || {
        gateway.metric("portcullis_held_body_bytes", &[]) < 1.0
    })
    .await;
}

#[tokio::test]
async fn bodies_held_together_are_bounded_and_the_room_comes_back() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.limits.held_bytes = 100_000;
    let gateway = setup.start().await;
    let mut holding = H1::connect(gateway.address()).await;
    holding.send(&head(90_000)).await;
    holding.send(&vec![b' '; 80_000]).await;
    until("the body is held", || {
        gateway.metric("portcullis_held_body_bytes", &[]) > 79_999.0
    })
    .await;
    let large = Http::new("POST", "tracking.test", "/v1/batch")
        .bearer(&token(ENFORCED))
        .body(vec![b' '; 40_000]);
    let answer = gateway.send(&large).await;
    answer.assert_denied(503, "overloaded");
    assert_eq!(answer.one("Retry-After"), "1");
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    drop(holding);
    until("the room came back", || {
        gateway.metric("portcullis_held_body_bytes", &[]) < 1.0
    })
    .await;
    let mut filled = vec![b' '; 40_000];
    filled.extend_from_slice(batch(ENFORCED).as_bytes());
    let request = Http::new("POST", "tracking.test", "/v1/batch")
        .bearer(&token(ENFORCED))
        .body(filled);
    gateway.send(&request).await.assert_ok();
}

#[tokio::test]
async fn body_is_held_until_its_answer_has_come_and_no_longer() {
    let upstream = StubUpstream::answering(|_| Reply::Hang);
    let mut setup = Setup::new(&upstream);
    setup.upstream().timeouts.read = Duration::from_millis(300);
    let gateway = setup.start().await;
    let mut client = H1::connect(gateway.address()).await;
    client.send(&Http::good_batch(ENFORCED).bytes()).await;
    upstream.until_received(1).await;
    client.answer().await.assert_denied(504, "upstream_timeout");
    until("nothing is held", || {
        gateway.metric("portcullis_held_body_bytes", &[]) < 1.0
    })
    .await;
}

#[tokio::test]
async fn stalled_head_gets_408_after_the_header_timeout() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.limits.header_timeout = Duration::from_millis(100);
    // Ten minutes: were this waited out, the test would fail.
    setup.config.limits.idle_timeout = Duration::from_secs(600);
    let gateway = setup.start().await;
    for begun in [
        "P",
        "POST /v1/batch HTTP/1.1\r\nHost: tracking.test\r\n",
        "PRI * HTTP/2.0\r\n",
    ] {
        let mut client = H1::connect(gateway.address()).await;
        client.send(begun.as_bytes()).await;
        client.answer().await.assert_denied(408, "request_timeout");
        client.assert_closed().await;
        // The second request of a connection is bounded as the first is, and cannot begin HTTP/2.
        if begun.starts_with("PRI") {
            continue;
        }
        let mut client = H1::connect(gateway.address()).await;
        client.send(&Http::good_batch(ENFORCED).bytes()).await;
        client.answer().await.assert_ok();
        client.send(begun.as_bytes()).await;
        client.answer().await.assert_denied(408, "request_timeout");
        client.assert_closed().await;
    }
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn refusal_is_read_by_a_client_that_is_still_sending() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let line = format!("X-Filler: {}\r\n", "a".repeat(1_000));
    let large = [
        b"POST /v1/batch HTTP/1.1\r\n".to_vec(),
        line.repeat(600).into_bytes(),
    ]
    .concat();
    for bytes in [large, [b"garbage\r\n".to_vec(), vec![b'a'; 600_000]].concat()] {
        let mut client = H1::connect(gateway.address()).await;
        assert!(
            client.send(&bytes).await,
            "the connection was reset while the client sent"
        );
        let answer = client.answer().await;
        assert!(
            matches!(answer.status, 400 | 431) && answer.complete,
            "{answer:?}"
        );
        client.assert_closed().await;
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn rejected_body_is_discarded_and_the_connection_kept() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    let bad = Http::new("POST", "tracking.test", "/v1/../batch").body(vec![b'a'; 300_000]);
    client.send(&bad.bytes()).await;
    client.answer().await.assert_denied(400, "path_invalid");
    upstream.assert_untouched();
    client.send(&Http::good_batch(ENFORCED).bytes()).await;
    client.answer().await.assert_ok();
    upstream.only();
}

#[tokio::test]
async fn refused_body_that_never_comes_ends_the_connection() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    let head = Http::new("POST", "tracking.test", "/v1/../batch").header("Content-Length: 1000");
    client.send(&head.bytes()).await;
    client.answer().await.assert_denied(400, "path_invalid");
    client.assert_closed().await;
    upstream.assert_untouched();
}

#[tokio::test]
async fn one_client_cannot_take_all_the_room_for_bodies() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.limits.held_bytes = 1_000_000;
    setup.config.limits.held_bytes_per_client = 100_000;
    let gateway = setup.start().await;
    let mut holding = H1::connect_from([127, 0, 0, 2], gateway.address()).await;
    holding.send(&head(99_000)).await;
    holding.send(&vec![b' '; 90_000]).await;
    until("the body is held", || {
        gateway.metric("portcullis_held_body_bytes", &[]) > 89_999.0
    })
    .await;
    let large = Http::new("POST", "tracking.test", "/v1/batch")
        .bearer(&token(ENFORCED))
        .body([vec![b' '; 40_000], batch(ENFORCED).into_bytes()].concat());
    let mut second = H1::connect_from([127, 0, 0, 2], gateway.address()).await;
    second.send(&large.bytes()).await;
    let answer = second.answer().await;
    answer.assert_denied(503, "overloaded");
    assert_eq!(answer.one("Retry-After"), "1");
    upstream.assert_untouched();
    // Another client has its own share.
    let mut other = H1::connect_from([127, 0, 0, 3], gateway.address()).await;
    other.send(&large.bytes()).await;
    other.answer().await.assert_ok();
    drop(holding);
    until("the room came back", || {
        gateway.metric("portcullis_held_body_bytes", &[]) < 1.0
    })
    .await;
    let mut again = H1::connect_from([127, 0, 0, 2], gateway.address()).await;
    again.send(&large.bytes()).await;
    again.answer().await.assert_ok();
}

#[tokio::test]
async fn inflated_body_counts_among_those_held() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.limits.held_bytes_per_client = 100_000;
    let gateway = setup.start().await;
    let text = [batch(ENFORCED), " ".repeat(150_000)].concat();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    let request = Http::new("POST", "tracking.test", "/v1/batch")
        .bearer(&token(ENFORCED))
        .header("Content-Encoding: gzip")
        .body(encoder.finish().unwrap());
    gateway.send(&request).await.assert_denied(503, "overloaded");
    upstream.assert_untouched();
}

#[tokio::test]
async fn client_that_reads_no_answers_is_given_up() {
    let upstream = StubUpstream::answering(|_| {
        let body = "a".repeat(8 << 20);
        Reply::text(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    });
    let mut setup = Setup::new(&upstream);
    setup.config.limits.body_timeout = Duration::from_millis(200);
    let gateway = setup.start().await;
    let mut client = H1::connect(gateway.address()).await;
    client.send(&Http::good_batch(ENFORCED).bytes()).await;
    upstream.until_received(1).await;
    until("the body was let go", || {
        gateway.metric("portcullis_held_body_bytes", &[]) < 1.0
    })
    .await;
    let answer = client.answer().await;
    assert!(
        !answer.complete,
        "a client that does not read cannot have got all of it"
    );
}

/// The small form of `benches/slow_clients.rs`, without a clock: others are served, and nothing is kept.
#[tokio::test]
async fn slow_clients_do_not_keep_others_from_being_served() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut slow = Vec::new();
    for begun in [
        b"".to_vec(),
        b"POST /v1/ba".to_vec(),
        head(100_000),
        [head(100_000), b"{".to_vec()].concat(),
    ] {
        for _ in 0..50 {
            let mut client = H1::connect(gateway.address()).await;
            client.send(&begun).await;
            slow.push(client);
        }
    }
    for _ in 0..20 {
        gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
        for client in &mut slow {
            client.send(b"").await;
        }
    }
    until("only the first bytes of bodies are held", || {
        gateway.metric("portcullis_held_body_bytes", &[]) <= 50.0
    })
    .await;
    drop(slow);
    until("nothing is held", || {
        gateway.metric("portcullis_held_body_bytes", &[]) < 1.0
    })
    .await;
    assert_eq!(upstream.received().len(), 20);
}

/// Responses that a client does not read count towards what it holds: one address cannot fill the memory with them.
#[tokio::test]
async fn unread_responses_over_http2_are_bounded_for_each_client() {
    const SHARE: usize = 2 << 20;
    let large = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}",
        1 << 20,
        "x".repeat(1 << 20)
    );
    let upstream = StubUpstream::answering(move |_| Reply::text(&large));
    let mut setup = Setup::new(&upstream);
    setup.config.limits.held_bytes_per_client = SHARE;
    let gateway = setup.start().await;
    let held = || gateway.metric("portcullis_held_body_bytes", &[]);
    let request = |target: &str| {
        let uri = format!("http://public.test{target}");
        http::Request::get(uri).body(()).unwrap()
    };
    let (mut unread, mut statuses, mut clients) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        let client = H2::connect(gateway.address()).await;
        for _ in 0..20 {
            // The window of a stream is smaller than its response, and nothing is read of it.
            let (response, _) = client.begin(request("/large"), true).await;
            let response = within("the head", response).await.unwrap();
            statuses.push(response.status().as_u16());
            unread.push(response);
        }
        clients.push(client);
    }
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert!((4..=SHARE / (192 << 10)).contains(&served), "{statuses:?}");
    assert!(
        statuses.iter().all(|status| matches!(status, 200 | 503)),
        "{statuses:?}"
    );
    assert!(held() <= SHARE as f64, "{}", held());
    // Another client is served meanwhile.
    let mut other = H1::connect_from([127, 0, 0, 2], gateway.address()).await;
    other
        .send(&Http::new("GET", "public.test", "/large").bytes())
        .await;
    other.answer_to("GET").await.assert_ok();
    drop((unread, clients));
    until("everything was given back", || held() == 0.0).await;
}
