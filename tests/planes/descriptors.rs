//! Out of file descriptors: the process continues, refuses connections cleanly, and does not spin.
#![expect(
    clippy::disallowed_methods,
    reason = "how much of the processor a process used shows against real time"
)]

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use super::reload::good_request;
use super::support::load::series;
use super::support::process::{DEADLINE, eventually, portcullis};
use super::support::product::{
    CONTROL_PLANE, OBSERVABILITY, Serve, Wishes, gateway, quickstart_data, served_env,
};
use super::support::recorder::Recorder;
use super::support::web::{Answer, read_answer};

/// Files that the process may open.
const FILES: usize = 160;

/// Clients that come while there is no descriptor left.
const TURNED_AWAY: usize = 15;

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// A request and its answer on a connection that is kept.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> Answer {
    stream.write_all(request).unwrap();
    read_answer(stream, "POST").unwrap()
}

fn open_files(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// Processor time used so far (proc(5): fields 14 and 15 in clock ticks, of which Linux shows 100 a second).
fn processor_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[test]
fn process_without_descriptors_refuses_without_spinning_and_serves_again() {
    let dir = quickstart_data();
    let upstream = Recorder::start();
    let config = gateway(&upstream, &Wishes::default()) + OBSERVABILITY + CONTROL_PLANE;
    let config = dir.write("portcullis.yaml", &config);
    let program = portcullis([]);
    let limited = format!("ulimit -n {FILES}; exec \"$0\" serve --config \"$1\"");
    let mut command = Command::new("sh");
    command
        .args(["-c", &limited])
        .arg(program.get_program())
        .arg(&config);
    let serve = Serve::by(&mut command);
    let env = served_env(dir.path(), &serve);
    let process = serve.process.id();

    // What is open already goes on: a client, and a scraper of the metrics.
    let request = good_request(&env, &env.token("", "tracking_api:write"));
    let to = Serve::address(serve.gateway.as_ref());
    let mut kept = connect(to);
    assert_eq!(exchange(&mut kept, &request).status(), 200);
    let mut watching = connect(Serve::address(serve.observability.as_ref()));
    let mut not_accepted = || {
        let metrics = exchange(
            &mut watching,
            b"GET /metrics HTTP/1.1\r\nHost: metrics.test\r\n\r\n",
        );
        let metrics = String::from_utf8(metrics.body).unwrap();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("portcullis_accept_errors_total{plane=\"gateway\"} "));
        line.unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(not_accepted(), 0.0);

    // Somebody takes all that is left, one by one, at another listener.
    let mut held = Vec::new();
    let mut take_all = || {
        while open_files(process) < FILES {
            let before = open_files(process);
            held.push(connect(Serve::address(serve.control.as_ref())));
            eventually("the connection is accepted", || open_files(process) != before);
        }
    };
    take_all();
    let (began, used) = (Instant::now(), processor_time(process));
    let mut refused = 0;
    for _ in 0..10 * TURNED_AWAY {
        let mut client = connect(to);
        let _ = client.write_all(&request);
        match read_answer(&client, "POST") {
            // The end, or a reset.
            None => refused += 1,
            // Something had ended meanwhile and left room for this one.
            Some(answer) => {
                // One descriptor is enough for the client, and not for the way to the upstream.
                assert!([200, 502].contains(&answer.status()), "{answer:?}");
                drop(client);
                take_all();
            }
        }
        if refused == TURNED_AWAY {
            break;
        }
    }
    assert_eq!(refused, TURNED_AWAY);
    let (took, used) = (began.elapsed(), processor_time(process) - used);
    assert!(used < took / 2, "{used:?} of processor time in {took:?}");
    // The client is still served. Its upstream connection may have ended meanwhile; a new one takes a descriptor.
    let mut status = exchange(&mut kept, &request).status();
    if status == 502 {
        held.pop();
        eventually("a descriptor is free", || open_files(process) < FILES);
        status = exchange(&mut kept, &request).status();
    }
    assert_eq!(status, 200);
    assert!(not_accepted() >= TURNED_AWAY as f64 / 2.0);

    drop(held);
    eventually("it serves again", || {
        let mut fresh = connect(to);
        fresh.write_all(&request).is_ok()
            && read_answer(fresh, "POST").is_some_and(|answer| answer.status() == 200)
    });
    // The control plane does, too.
    env.token("", "tracking_api:write");
    let errors = series(&serve.metrics(), "portcullis_requests_total");
    assert!(errors.keys().any(|labels| labels.contains("decision=\"allow\"")));
    let finished = serve.stop();
    assert!(
        finished.stderr.contains("raise the limit of open files"),
        "{}",
        finished.stderr
    );
}
