//! Everything at once, at saturation: good requests, bad ones, slow ones, huge ones and clients that vanish.
//!
//! `PORTCULLIS_TEST_LOAD_SECONDS=600 cargo test --profile dist --test planes mixed_load -- --nocapture` is the long run; then
//! memory has to be flat, too.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;

use super::reload::{Loaded, count, good_request};
use super::support::load::{Holds, Seen, Wire, pause, series};
use super::support::product::{Env, Serve};

/// How long it goes on, in seconds.
const SECONDS: (&str, usize) = ("PORTCULLIS_TEST_LOAD_SECONDS", 3);

/// From here on memory has to stay where it is.
const WARM_AFTER_S: usize = 120;

/// What memory may still grow by after that: a fiftieth, and this.
const GROWTH_MAX_KIB: u64 = 4 << 10;

/// Larger than the largest body.
const HUGE: usize = (1 << 20) + 1;

#[test]
fn mixed_load_adds_up() {
    let seconds = count(SECONDS);
    let mut world = Loaded::start("");
    let token = world.env.token("", "tracking_api:write");
    let to = Serve::address(world.serve.gateway.as_ref());
    let good = good_request(&world.env, &token);
    world.load.keep_sending(16, to, &good);
    let stop = world.load.is_stopping();
    for bad in bad_requests(&world.env, &token) {
        let client = again_and_again(&world.load.seen, &stop, move |seen| {
            refused(seen, to, bad.clone())
        });
        world.load.spawn(client);
    }
    for _ in 0..8 {
        let request = good.clone();
        world
            .load
            .spawn(again_and_again(&world.load.seen, &stop, move |seen| {
                slow(seen, to, request.clone())
            }));
    }
    let token = Arc::new(token);
    let huge = Arc::clone(&token);
    world
        .load
        .spawn(again_and_again(&world.load.seen, &stop, move |seen| {
            too_large(seen, to, Arc::clone(&huge))
        }));
    for _ in 0..2 {
        let request = good.clone();
        let client = move |seen| vanishes_in_its_body(seen, to, request.clone());
        world.load.spawn(again_and_again(&world.load.seen, &stop, client));
        let (request, holds) = (good.clone(), world.upstream.holds());
        let client = move |seen| vanishes_before_its_answer(seen, to, request.clone(), holds.clone());
        world.load.spawn(again_and_again(&world.load.seen, &stop, client));
    }
    let memory = watch_memory(&world, seconds);
    let (serve, upstream) = (world.serve, world.upstream);
    let seen = world.load.stop();
    seen.assert_none_failed();
    let answers = seen.answers();
    let decided = eventually_decided(&serve, &answers);
    println!(
        "answers {answers:?}\ndecisions {decided:?}\nat the upstream {}",
        upstream.requests()
    );
    assert_eq!(
        decided,
        expected(&answers),
        "what clients saw, and what the gateway counted"
    );
    assert_eq!(
        decided[""],
        upstream.requests(),
        "what was allowed, and what arrived"
    );
    assert!(answers.keys().all(|(status, _)| *status < 500), "{answers:?}");
    assert_flat(&memory);
    let finished = serve.stop();
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
}

/// Goes on with `client` until the load ends.
fn again_and_again<F>(
    seen: &Arc<Seen>,
    stop: &Arc<AtomicBool>,
    client: impl Fn(Arc<Seen>) -> F + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static
where
    F: Future<Output = Result<(), String>> + Send,
{
    let (seen, stop) = (Arc::clone(seen), Arc::clone(stop));
    async move {
        while !stop.load(Ordering::Relaxed) {
            if let Err(error) = client(Arc::clone(&seen)).await {
                seen.failed(error);
            }
        }
    }
}

/// Requests that are refused for a reason each, on connections that are kept where that may be.
fn bad_requests(env: &Env, token: &str) -> Vec<Vec<u8>> {
    let text = |token: &str| String::from_utf8(good_request(env, token)).unwrap();
    let broken = format!("{}x.{}", &token[..10], &token[11..]);
    super::support::secrets::note([broken.as_str()]);
    let without = text(token).replace(&format!("Authorization: Bearer {token}\r\n"), "");
    vec![
        without.clone(),
        text(&broken),
        text(token).replace("Authorization:", "Authorization: Basic eDo=\r\nAuthorization:"),
        without.replace("writeKey", "writeKeys"),
        without.replace("/v1/batch", "/v1/../batch"),
        text(token).replace("{\"batch\"", "[\"batch\""),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect()
}

async fn refused(seen: Arc<Seen>, to: SocketAddr, request: Vec<u8>) -> Result<(), String> {
    let mut wire = connect(to).await?;
    for sent_before in 0..50 {
        // A refusal may end the connection without saying so first.
        let answer = match send(&mut wire, &request).await {
            Ok(()) => wire.answer().await,
            Err(error) => Err(error),
        };
        let answer = match answer {
            Err(_) if sent_before > 0 => break,
            answer => answer?,
        };
        seen.answered(&answer);
        if !(400..500).contains(&answer.status) {
            return Err(format!("a bad request got {}", answer.status));
        }
        if answer.is_last() {
            break;
        }
    }
    Ok(())
}

/// A good request in many small pieces.
async fn slow(seen: Arc<Seen>, to: SocketAddr, request: Vec<u8>) -> Result<(), String> {
    let mut wire = connect(to).await?;
    for piece in request.chunks(request.len() / 10) {
        send(&mut wire, piece).await?;
        pause(Duration::from_millis(20)).await;
    }
    let answer = wire.answer().await?;
    seen.answered(&answer);
    match answer.status {
        200 => Ok(()),
        status => Err(format!("a slow request got {status} {}", answer.reason())),
    }
}

/// A body that is longer than may be; it is announced, and never sent.
async fn too_large(seen: Arc<Seen>, to: SocketAddr, token: Arc<String>) -> Result<(), String> {
    let mut wire = connect(to).await?;
    let head = format!(
        "POST /v1/batch HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {token}\r\nContent-Length: {HUGE}\r\n\r\n"
    );
    send(&mut wire, head.as_bytes()).await?;
    let answer = wire.answer().await?;
    seen.answered(&answer);
    match answer.status {
        413 => Ok(()),
        status => Err(format!("a huge request got {status}")),
    }
}

/// Is asked for its body, sends half of it, and resets the connection: a malformed request.
async fn vanishes_in_its_body(seen: Arc<Seen>, to: SocketAddr, request: Vec<u8>) -> Result<(), String> {
    let mut wire = connect(to).await?;
    let text = String::from_utf8(request).map_err(|_| "not a text")?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no head")?;
    send(
        &mut wire,
        format!("{head}\r\nExpect: 100-continue\r\n\r\n").as_bytes(),
    )
    .await?;
    let interim = wire.head().await?;
    if !interim.line.contains(" 100 ") {
        return Err(format!("no body was asked for: {}", interim.line));
    }
    send(&mut wire, &body.as_bytes()[..body.len() / 2]).await?;
    reset(&wire)?;
    seen.count(400, "request_malformed".to_owned());
    Ok(())
}

/// Resets the connection while its request waits at the upstream: allowed, and for nothing.
async fn vanishes_before_its_answer(
    seen: Arc<Seen>,
    to: SocketAddr,
    request: Vec<u8>,
    holds: Holds,
) -> Result<(), String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (hold, header) = holds.expect(&NEXT.fetch_add(1, Ordering::Relaxed).to_string());
    let mut wire = connect(to).await?;
    let text = String::from_utf8(request).map_err(|_| "not a text")?;
    send(
        &mut wire,
        text.replacen("Content-Type", &format!("{header}Content-Type"), 1)
            .as_bytes(),
    )
    .await?;
    hold.arrived().await;
    reset(&wire)?;
    drop(wire);
    hold.answer();
    seen.count(200, String::new());
    Ok(())
}

async fn connect(to: SocketAddr) -> Result<Wire, String> {
    Wire::connect(to)
        .await
        .map_err(|error| format!("connecting: {error}"))
}

async fn send(wire: &mut Wire, bytes: &[u8]) -> Result<(), String> {
    wire.stream
        .write_all(bytes)
        .await
        .map_err(|error| format!("sending: {error}"))
}

/// From now on closing the connection resets it.
fn reset(wire: &Wire) -> Result<(), String> {
    let socket = SockRef::from(wire.stream.get_ref());
    socket
        .set_linger(Some(Duration::ZERO))
        .map_err(|error| error.to_string())
}

/// Answers by reason; the empty one is 200.
fn expected(answers: &BTreeMap<(u16, String), u64>) -> BTreeMap<String, u64> {
    let mut by_reason = BTreeMap::new();
    for ((_, reason), count) in answers {
        *by_reason.entry(reason.clone()).or_default() += count;
    }
    by_reason
}

/// The gateway's decisions by reason, once those of clients that have gone are in.
fn eventually_decided(serve: &Serve, answers: &BTreeMap<(u16, String), u64>) -> BTreeMap<String, u64> {
    let wanted = expected(answers);
    let mut decided = decisions(serve);
    for _ in 0..1_000 {
        if decided == wanted {
            break;
        }
        std::thread::yield_now();
        decided = decisions(serve);
    }
    decided
}

fn decisions(serve: &Serve) -> BTreeMap<String, u64> {
    let mut decided = BTreeMap::new();
    for (labels, count) in series(&serve.metrics(), "portcullis_requests_total") {
        let reason = labels
            .split("reason=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        *decided.entry(reason.unwrap().to_owned()).or_default() += count as u64;
    }
    decided.retain(|_, count| *count > 0);
    decided
}

/// Resident memory in KiB, once a second.
fn watch_memory(world: &Loaded, seconds: usize) -> Vec<u64> {
    let status = format!("/proc/{}/status", world.serve.process.id());
    let mut memory = Vec::new();
    for second in 0..seconds {
        world.load.runtime.block_on(pause(Duration::from_secs(1)));
        let text = std::fs::read_to_string(&status).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        memory.push(line.trim().trim_end_matches(" kB").parse().unwrap());
        if second % 10 == 9 {
            println!(
                "{} s: {} KiB, {} requests at the upstream",
                second + 1,
                memory[second],
                world.upstream.requests()
            );
        }
    }
    memory
}

fn assert_flat(memory: &[u64]) {
    let Some((warming, warm)) = memory.split_at_checked(WARM_AFTER_S) else {
        return;
    };
    let (before, after) = (warming.iter().max().unwrap(), warm.iter().max().unwrap_or(&0));
    assert!(
        *after <= before + before / 50 + GROWTH_MAX_KIB,
        "{before} KiB within the first two minutes, {after} KiB after them"
    );
}
