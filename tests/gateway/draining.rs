//! Draining: busy connections end after their response, idle ones at once.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::client::H1;
use crate::gateway::{ENFORCED, Http, Setup, TestGateway};
use crate::upstream::StubUpstream;
use crate::wait::{until, within};

/// Far longer than any test waits.
const LONG: Duration = Duration::from_secs(600);

/// Resolves when no connection is accepted any more.
async fn until_stopped(gateway: &TestGateway) {
    let refused = async { while TcpStream::connect(gateway.address()).await.is_ok() {} };
    within("the listener is closed", refused).await;
}

#[tokio::test]
async fn answer_under_way_at_the_end_is_the_last_of_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (came_in, came) = oneshot::channel();
    let (answer_in, answer) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 16]).await.unwrap();
        came_in.send(()).unwrap();
        answer.await.unwrap();
        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        stream.write_all(ok).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let gateway = Setup::to(&[address]).start().await;
    let mut client = H1::connect(gateway.address()).await;
    client
        .send(&Http::new("GET", "public.test", "/things").bytes())
        .await;
    came.await.unwrap();
    let story = async {
        until_stopped(&gateway).await;
        answer_in.send(()).unwrap();
        let last = client.answer_to("GET").await;
        last.assert_ok();
        assert_eq!(last.one("connection"), "close");
        client.assert_closed().await;
    };
    // It ends with its last connection, long before any grace is over.
    let ended = async { tokio::join!(gateway.drain(LONG, LONG), story) };
    within("the gateway has ended", ended).await;
}

#[tokio::test]
async fn drain_closes_idle_connections_and_serves_recent_ones_once() {
    let grace = Duration::from_millis(1_500);
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let request = Http::good_batch(ENFORCED).bytes();
    let mut silent = H1::connect(gateway.address()).await;
    silent.send(&request).await;
    silent.answer().await.assert_ok();
    let mut never_used = H1::connect(gateway.address()).await;
    let mut busy = H1::connect(gateway.address()).await;
    let since = tokio::time::Instant::now();
    while since.elapsed() <= grace {
        busy.send(&request).await;
        busy.answer().await.assert_ok();
    }
    let story = async {
        silent.assert_closed().await;
        never_used.assert_closed().await;
        busy.send(&request).await;
        let last = busy.answer().await;
        last.assert_ok();
        assert_eq!(last.one("connection"), "close");
        busy.assert_closed().await;
    };
    let ended = async { tokio::join!(gateway.drain(grace, LONG), story) };
    within("the gateway has ended", ended).await;
}

#[tokio::test]
async fn request_that_began_before_the_end_is_answered() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let request = Http::good_batch(ENFORCED).bytes();
    let (begin, rest) = request.split_at(30);
    let mut begun = H1::connect(gateway.address()).await;
    begun.send(begin).await;
    // There is one worker: what came before this was seen before it.
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    until("the other connection has ended", || {
        gateway.open_connections() == 1.0
    })
    .await;
    let story = async {
        until_stopped(&gateway).await;
        begun.send(rest).await;
        let last = begun.answer().await;
        last.assert_ok();
        assert_eq!(last.one("connection"), "close");
    };
    let ended = async { tokio::join!(gateway.drain(Duration::ZERO, LONG), story) };
    within("the gateway has ended", ended).await;
}
