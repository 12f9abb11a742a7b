//! The access log: what a line says, which requests have one, and that none is lost without a trace.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::support::process::eventually;
use super::support::product::{CONTROL_PLANE, Env, Serve, Wishes, gateway, quickstart_data, served_env};
use super::support::recorder::Recorder;
use super::support::scratch::Scratch;

const FIELDS: [&str; 16] = [
    "request_id",
    "trace_id",
    "client",
    "method",
    "path",
    "status",
    "api",
    "decision",
    "reason",
    "source_id",
    "app_id",
    "took_us",
    "decide_us",
    "upstream_us",
    "bytes_in",
    "bytes_out",
];

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Both planes with an access log in a file.
struct Logged {
    dir: Scratch,
    env: Env,
    serve: Serve,
    upstream: Recorder,
}

impl Logged {
    /// `log` is what stands in the section `access_log`.
    fn start(log: &str) -> Self {
        let dir = quickstart_data();
        let upstream = Recorder::start();
        let config = gateway(&upstream, &Wishes::default())
            + CONTROL_PLANE
            + &format!("observability: {{listen: \"127.0.0.1:0\", access_log: {{{log}}}}}\n");
        let serve = Serve::start(&dir.write("portcullis.yaml", &config));
        let env = served_env(dir.path(), &serve);
        Self {
            dir,
            env,
            serve,
            upstream,
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.join("access.log")
    }

    fn dropped(&self) -> f64 {
        let metrics = self.serve.metrics();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("portcullis_access_log_dropped_total "));
        line.unwrap().split(' ').next_back().unwrap().parse().unwrap()
    }
}

/// The lines of a log, once there are this many.
fn lines(file: &Path, count: usize) -> Vec<String> {
    let read = || {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    eventually("the log has its lines", || read().len() >= count);
    let lines = read();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

fn records(file: &Path, count: usize) -> Vec<Value> {
    let lines = lines(file, count);
    lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn access_log_says_who_asked_for_what_and_why_not() {
    let logged = Logged::start("file: \"access.log\"");
    let env = &logged.env;
    let token = env.token("", "tracking_api:write");
    let event = env
        .event("WRITE_KEY")
        .bearer(&token)
        .header("traceparent", &format!("00-{TRACE}-{PARENT}-01"));
    let allowed = event.send();
    let denied = env.event("WRITE_KEY").send();
    let other = env.event("OTHER_WRITE_KEY").bearer(&token).send();
    assert_eq!(
        (allowed.status(), denied.status(), other.status()),
        (200, 401, 403)
    );
    env.event("OBSERVED_WRITE_KEY").send();
    let records = records(&logged.file(), 4);
    for record in &records {
        for field in FIELDS {
            assert!(record.get(field).is_some(), "{field}: {record}");
        }
    }
    let [allow, deny, not_connected, would_deny] = records.as_slice() else {
        unreachable!()
    };
    assert_eq!(allow["request_id"], allowed.header("x-request-id").unwrap());
    assert_eq!(allow["decision"], "allow");
    assert_eq!(allow["trace_id"], TRACE);
    assert_eq!(allow["app_id"], env.get("CLIENT_ID"));
    assert_eq!(allow["client_key_id"], env.get("KEY_ID"));
    assert_eq!(allow["upstream_server"], logged.upstream.address.to_string());
    assert_eq!(allow["bytes_out"], allowed.body.len());
    assert!(allow["bytes_in"].as_u64() > Some(40), "{allow}");
    assert!(
        allow["took_us"].as_u64() >= allow["upstream_us"].as_u64(),
        "{allow}"
    );
    let forwarded = logged.upstream.requests();
    let span = allow["span_id"].as_str().unwrap();
    assert_ne!(span, PARENT);
    assert_eq!(
        forwarded[0].header("traceparent"),
        Some(&*format!("00-{TRACE}-{span}-01"))
    );
    assert_eq!(deny["request_id"], denied.header("x-request-id").unwrap());
    assert_eq!(
        (&deny["decision"], &deny["reason"]),
        (&"deny".into(), &"token_missing".into())
    );
    assert_eq!(deny["source_id"], allow["source_id"]);
    assert!(
        deny["source_id"].is_string() && deny["trace_id"].is_null(),
        "{deny}"
    );
    assert_eq!(not_connected["reason"], "app_not_connected");
    assert_eq!(not_connected["app_id"], env.get("CLIENT_ID"));
    assert_ne!(not_connected["source_id"], allow["source_id"]);
    assert_eq!(not_connected["issuer"], allow["issuer"]);
    assert_eq!(would_deny["decision"], "would_deny");
    logged.serve.stop();
}

#[test]
fn sampling_never_drops_denials() {
    let logged = Logged::start("file: \"access.log\", sample_allowed: 0, format: text");
    let (env, token) = (&logged.env, logged.env.token("", "tracking_api:write"));
    for _ in 0..20 {
        assert_eq!(env.event("WRITE_KEY").bearer(&token).send().status(), 200);
    }
    env.event("WRITE_KEY").send();
    env.event("OBSERVED_WRITE_KEY").send();
    let mut stream = TcpStream::connect(Serve::address(logged.serve.gateway.as_ref())).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nbad header\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let lines = lines(&logged.file(), 3);
    for (line, words) in lines.iter().zip([
        "decision=deny reason=token_missing",
        "decision=would_deny reason=token_missing",
        "decision=deny reason=request_malformed",
    ]) {
        assert!(line.contains(words) && line.starts_with("timestamp="), "{line}");
    }
    logged.serve.stop();
}

#[test]
fn access_log_is_reopened_on_hup() {
    let logged = Logged::start("file: \"access.log\"");
    logged.env.event("WRITE_KEY").send();
    lines(&logged.file(), 1);
    let moved = logged.dir.join("access.log.1");
    fs::rename(logged.file(), &moved).unwrap();
    logged.env.event("WRITE_KEY").send();
    lines(&moved, 2);
    logged.serve.process.signal("HUP");
    eventually("the log is opened again", || logged.file().exists());
    logged.env.event("WRITE_KEY").send();
    lines(&logged.file(), 1);
    lines(&moved, 2);
    logged.serve.stop();
}

#[test]
fn lines_on_a_full_disk_are_counted() {
    let logged = Logged::start("file: \"/dev/full\"");
    assert!(logged.dropped().abs() < f64::EPSILON);
    for _ in 0..3 {
        assert_eq!(logged.env.event("WRITE_KEY").send().status(), 401);
    }
    eventually("lost lines are counted", || logged.dropped() >= 3.0);
    let finished = logged.serve.stop();
    let said = finished.stderr.matches("access log cannot be written").count();
    assert_eq!(said, 1, "{}", finished.stderr);
}
