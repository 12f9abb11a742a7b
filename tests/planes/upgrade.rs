//! `serve --upgrade`: a new process replaces the running one without losing a request.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::reload::{Loaded, count, good_request};
use super::support::load::{CountingUpstream, Load};
use super::support::process::{DEADLINE, Process, eventually, portcullis};
use super::support::product::{
    CONTROL_PLANE, OBSERVABILITY, Serve, Wishes, gateway_to, quickstart_data, served_env,
};

/// How many upgrades happen under load; a number in this variable asks for more.
const UPGRADES: (&str, usize) = ("PORTCULLIS_TEST_UPGRADES", 1);

const UPGRADABLE: &str = "upgrade: {socket: door.sock}\nshutdown: {idle_grace: 3s}\n";

#[test]
fn upgrades_under_load_fail_no_request() {
    let mut world = Loaded::start(UPGRADABLE);
    let token = world.env.token("", "tracking_api:write");
    let to = Serve::address(world.serve.gateway.as_ref());
    world.load.keep_sending(8, to, &good_request(&world.env, &token));
    // The control plane is upgraded, too: a client always wants a token.
    let stop = Arc::new(AtomicBool::new(false));
    let tokens = {
        let (env, stop) = (world.env.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut fetched = 0;
            while !stop.load(Ordering::Relaxed) {
                env.token("", "tracking_api:write");
                fetched += 1;
            }
            fetched
        })
    };
    let config = world.dir.join("portcullis.yaml");
    let mut serve = world.serve;
    for _ in 0..count(UPGRADES) {
        let next = Serve::upgrade(&config);
        assert_eq!(
            (&next.gateway, &next.control, &next.observability),
            (&serve.gateway, &serve.control, &serve.observability)
        );
        let finished = serve.process.finish();
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        assert!(
            !finished.stderr.contains("drain timeout reached"),
            "{}",
            finished.stderr
        );
        serve = next;
    }
    stop.store(true, Ordering::Relaxed);
    let fetched = tokens.join().unwrap();
    let seen = world.load.stop();
    seen.assert_none_failed();
    println!(
        "{} requests and {fetched} tokens, none failed",
        seen.with_status(200)
    );
    assert_eq!(seen.with_status(200), world.upstream.requests());
    assert!(fetched > 0);
    serve.stop();
}

/// A process that this one did not start; it ends when dropped.
struct Successor(u32);

impl Successor {
    fn signal(&self, name: &str) -> bool {
        let kill = format!("kill -{name} {}", self.0);
        let sent = Command::new("sh").args(["-c", &kill]).status().unwrap();
        sent.success()
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        self.signal("KILL");
    }
}

/// What the next message to a service manager says the main process is.
fn main_process(manager: &UnixDatagram) -> u32 {
    let mut message = [0; 256];
    let length = manager.recv(&mut message).expect("word from the process");
    let message = String::from_utf8_lossy(&message[..length]).into_owned();
    assert!(message.contains("READY=1"), "{message}");
    let id = message.lines().find_map(|line| line.strip_prefix("MAINPID="));
    id.unwrap().parse().unwrap()
}

/// As a service manager does it: a signal to the process that runs, and a message from the new one.
#[test]
fn signal_upgrades_under_load_and_says_which_process_it_is_now() {
    let dir = quickstart_data();
    let mut load = Load::new();
    let upstream = CountingUpstream::start(&load.runtime);
    let config =
        gateway_to(upstream.address, &Wishes::default()) + OBSERVABILITY + CONTROL_PLANE + UPGRADABLE;
    let config = dir.write("portcullis.yaml", &config);
    let manager = UnixDatagram::bind(dir.join("notify.sock")).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut command = portcullis(["serve", "--config"]);
    command.arg(&config).env("NOTIFY_SOCKET", dir.join("notify.sock"));
    let mut serve = Serve::by(&mut command);
    assert_eq!(main_process(&manager), serve.process.id());
    let env = served_env(dir.path(), &serve);
    let token = env.token("", "tracking_api:write");
    let to = Serve::address(serve.gateway.as_ref());
    load.keep_sending(4, to, &good_request(&env, &token));

    serve.process.signal("USR2");
    let successor = Successor(main_process(&manager));
    assert_ne!(successor.0, serve.process.id());
    // The first one ends, and has told nobody that the service does.
    assert_eq!(serve.process.wait(), Some(0));
    manager.set_nonblocking(true).unwrap();
    assert!(manager.recv(&mut [0; 256]).is_err(), "there was more to say");
    let before = upstream.requests();
    eventually("the other process serves", || upstream.requests() > before + 100);
    let seen = load.stop();
    seen.assert_none_failed();
    assert_eq!(seen.with_status(200), upstream.requests());
    assert!(successor.signal("TERM"));
    let finished = serve.process.finish();
    assert!(
        finished.stderr.contains("the other process serves now"),
        "{}",
        finished.stderr
    );
}

#[test]
fn upgrade_that_fails_leaves_the_old_process_at_work() {
    let world = Loaded::start(UPGRADABLE);
    let token = world.env.token("", "tracking_api:write");
    let good = world.dir.join("portcullis.yaml");
    // It gets as far as the store, and then finds that it is none.
    world.dir.write(
        "nothing.db",
        "this is not a database, and not short either; "
            .repeat(100)
            .as_str(),
    );
    let bad = world.config.replace("sqlite:portcullis.db", "sqlite:nothing.db");
    let bad = world.dir.write("bad.yaml", &bad);
    let failed = Process::run(portcullis(["serve", "--upgrade", "--config"]).arg(&bad));
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    let log = &world.serve.process.stderr;
    log.wait_for("it goes on", |lines| {
        lines
            .iter()
            .any(|line| line.contains("continues to serve"))
            .then_some(())
    });
    assert_eq!(
        world.env.event("WRITE_KEY").bearer(&token).send().verdict(),
        (200, String::new())
    );
    // The control plane is back, and what it changes is in force.
    let fresh = world.env.token("", "tracking_api:write");
    world.env.revoke(&fresh);
    assert_eq!(
        world.env.event("WRITE_KEY").bearer(&fresh).send().reason(),
        "token_revoked"
    );
    let next = Serve::upgrade(&good);
    let finished = world.serve.process.finish();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(
        world.env.event("WRITE_KEY").bearer(&fresh).send().reason(),
        "token_revoked"
    );
    next.stop();
}

#[test]
fn upgrade_without_a_process_to_take_over_from_says_so() {
    let world = Loaded::start(UPGRADABLE);
    world.serve.stop();
    let alone =
        Process::run(portcullis(["serve", "--upgrade", "--config"]).arg(world.dir.join("portcullis.yaml")));
    assert_eq!(alone.code, Some(1));
    assert!(
        alone.stderr.contains("start without --upgrade"),
        "{}",
        alone.stderr
    );
    let without = world
        .dir
        .write("no-door.yaml", &world.config.replace(UPGRADABLE, ""));
    let without = Process::run(portcullis(["serve", "--upgrade", "--config"]).arg(without));
    assert_eq!(without.code, Some(1));
    assert!(without.stderr.contains("add `upgrade:"), "{}", without.stderr);
}

/// Reads one answer with a Content-Length.
fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"}") && stream.read(&mut byte).unwrap() == 1 {
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap().to_ascii_lowercase()
}

#[test]
fn kept_connection_gets_one_more_answer_after_term_and_none_past_its_time() {
    let world = Loaded::start("shutdown: {idle_grace: 2s, drain_timeout: 20s}\n");
    let token = world.env.token("", "tracking_api:write");
    let request = good_request(&world.env, &token);
    let connect = || {
        let mut stream = TcpStream::connect(Serve::address(world.serve.gateway.as_ref())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(&request).unwrap();
        let first = answer(&mut stream);
        assert!(
            first.contains(" 200 ") && !first.contains("connection: close"),
            "{first}"
        );
        stream
    };
    let (mut used, mut idle) = (connect(), connect());
    world.serve.process.terminate();
    world.serve.process.stderr.wait_for("it is ending", |lines| {
        lines
            .iter()
            .any(|line| line.contains("draining: no new connections"))
            .then_some(())
    });
    // The log line comes before the listeners stop.
    eventually("the listener is closed", || {
        TcpStream::connect(Serve::address(world.serve.gateway.as_ref())).is_err()
    });
    used.write_all(&request).unwrap();
    let last = answer(&mut used);
    assert!(
        last.contains(" 200 ") && last.contains("connection: close"),
        "{last}"
    );
    // Nothing was sent on the other one; it ends without an answer.
    assert_eq!(idle.read(&mut [0]).unwrap_or(0), 0);
    let finished = world.serve.process.finish();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(world.upstream.requests(), 3);
}

#[test]
fn interrupt_ends_at_once() {
    let world = Loaded::start("shutdown: {idle_grace: 60s, drain_timeout: 60s}\n");
    let _idle = TcpStream::connect(Serve::address(world.serve.gateway.as_ref())).unwrap();
    world.serve.process.signal("INT");
    let finished = world.serve.process.finish();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}
