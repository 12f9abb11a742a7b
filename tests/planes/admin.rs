//! `portcullis admin`, as an operator runs it: the first owner, a new password, the check of the trail.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::support::process::{Finished, Process, portcullis};
use super::support::product::{NEW_CONTROL_PLANE, OBSERVABILITY, Serve, World, change_store};
use super::support::scratch::Scratch;
use super::support::web::get;

const PASSWORD: &str = "an owner's long password";

/// `portcullis admin WORDS... --config CONFIG`.
pub fn admin(words: &[&str], config: &Path) -> Command {
    let mut command = portcullis(["admin"]);
    command.args(words).arg("--config").arg(config);
    command
}

/// Runs it with `line` on its standard input.
pub fn run(mut command: Command, line: &str) -> Finished {
    let mut process = Process::start(&mut command);
    process.say(line);
    process.finish()
}

#[test]
fn first_owner_is_made_once_and_serve_says_how() {
    let dir = Scratch::new();
    let config = dir.write("p.yaml", &format!("version: 1\n{NEW_CONTROL_PLANE}"));
    let serve = || {
        let mut command = portcullis(["serve", "--config"]);
        command.arg(&config);
        Process::start(&mut command)
    };
    let hint = "portcullis admin owner --config";
    let running = serve();
    running.stderr.wait_for("how to make the first owner", |lines| {
        lines.iter().any(|line| line.contains(hint)).then_some(())
    });
    let owner = ["owner", "--email", "Me@Example.com", "--workspace", "Acme"];
    let short = run(admin(&owner, &config), "short");
    assert_eq!(short.code, Some(1));
    assert!(
        short.stderr.contains("at least 12 characters"),
        "{}",
        short.stderr
    );
    // Beside the server that runs on the store.
    let made = run(admin(&owner, &config), PASSWORD);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    running.stop();
    assert!(
        made.stdout.contains("me@example.com owns the workspace `Acme`"),
        "{}",
        made.stdout
    );
    assert!(
        made.stdout.contains("portcullis serve --config"),
        "{}",
        made.stdout
    );
    assert!(!made.stdout.contains(PASSWORD));
    let again = run(admin(&owner, &config), PASSWORD);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("reset-password"), "{}", again.stderr);

    let file = dir.write("password", "another long password\n");
    let mut reset = admin(&["reset-password", "--email", "me@example.com"], &config);
    reset.arg("--password-file").arg(&file);
    let reset = Process::run(&mut reset);
    assert_eq!(reset.code, Some(0), "{}", reset.stderr);
    assert!(
        reset.stdout.contains("Ended: 0 sessions and 0 API tokens."),
        "{}",
        reset.stdout
    );
    let nobody = run(
        admin(&["reset-password", "--email", "no@example.com"], &config),
        PASSWORD,
    );
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.stderr.contains("person not found"), "{}", nobody.stderr);

    let running = serve();
    running.stderr.wait_for("the address", |lines| {
        lines.iter().any(|line| line.contains("listening")).then_some(())
    });
    assert!(!running.stop().stderr.contains(hint));
}

#[test]
fn owner_without_passwords_is_asked_for_none() {
    let dir = Scratch::new();
    let provider = "oidc: {issuer: \"https://login.example.com\", client_id: a, client_secret: b}";
    let config = format!("version: 1\n{NEW_CONTROL_PLANE}  login: {{passwords: \"off\", {provider}}}\n");
    let config = dir.write("p.yaml", &config);
    // Nothing comes on the standard input, and none of these waits for it.
    for (words, said) in [
        (
            &["owner", "--email", "me@example.com"][..],
            "with single sign-on and this address",
        ),
        (
            &["reset-password", "--email", "me@example.com"],
            "me@example.com signs in with single sign-on from now on",
        ),
    ] {
        let done = Process::run(&mut admin(words, &config));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(done.stdout.contains(said), "{}", done.stdout);
    }
}

#[test]
fn trail_is_checked_beside_a_running_server() {
    let dir = Scratch::new();
    let config = dir.write("p.yaml", &format!("version: 1\n{NEW_CONTROL_PLANE}"));
    let made = run(admin(&["owner", "--email", "me@example.com"], &config), PASSWORD);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let verify = || Process::run(&mut admin(&["audit", "verify"], &config));
    let mut serve = portcullis(["serve", "--config"]);
    let running = Process::start(serve.arg(&config));
    running.stderr.wait_for("the address", |lines| {
        lines.iter().any(|line| line.contains("listening")).then_some(())
    });
    let whole = verify();
    assert_eq!(whole.code, Some(0), "{}", whole.stderr);
    assert!(whole.stdout.contains("The trail is whole"), "{}", whole.stdout);
    let end = whole
        .stdout
        .lines()
        .find_map(|line| line.split_once("ending with "))
        .unwrap()
        .1;
    // The end alone, as earlier versions printed it, and what is to be kept now: the beginning, too.
    let noted = whole.stdout.lines().last().unwrap();
    assert!(noted.starts_with("1:") && noted.contains(".."), "{noted}");
    for noted in [end, noted] {
        let mut expecting = admin(&["audit", "verify", "--expect", noted], &config);
        assert_eq!(Process::run(&mut expecting).code, Some(0));
    }

    change_store(
        dir.path(),
        &["UPDATE audit_events SET actor_name = 'somebody else' WHERE position = 1"],
    );
    let edited = verify();
    assert_eq!(edited.code, Some(1));
    assert!(edited.stdout.contains("event 1 ("), "{}", edited.stdout);
    running.stop();
}

#[test]
fn readyz_tells_of_a_clock_that_is_behind() {
    let dir = Scratch::new();
    let config = dir.write(
        "p.yaml",
        &format!("version: 1\n{NEW_CONTROL_PLANE}{OBSERVABILITY}"),
    );
    let readyz = |serve: &Serve| {
        let answer = get(&format!("{}/readyz", serve.observability.as_deref().unwrap())).send();
        (answer.status(), String::from_utf8(answer.body).unwrap())
    };
    let serve = Serve::start(&config);
    assert_eq!(readyz(&serve), (200, "ready\n".to_owned()));
    serve.stop();
    // A process that served from this store has seen the year 2100.
    change_store(dir.path(), &["UPDATE clock_mark SET trusted = 4102444800"]);
    let serve = Serve::start(&config);
    let (status, body) = readyz(&serve);
    let said = "the system clock is behind the latest time known";
    assert!(
        status == 200 && body.starts_with("ready\nwarning: ") && body.contains(said),
        "{status} {body}"
    );
    let behind = "portcullis_clock_ahead_seconds{plane=\"control\"} -";
    assert!(serve.metrics().contains(behind), "{}", serve.metrics());
    let log = serve.stop().stderr;
    assert_eq!(log.matches(said).count(), 1, "once for each change: {log}");
}

#[test]
fn audit_events_are_listed_and_exported_beside_a_server() {
    let dir = Scratch::new();
    let config = dir.write(
        "p.yaml",
        &format!("version: 1\n{NEW_CONTROL_PLANE}{OBSERVABILITY}"),
    );
    let made = run(admin(&["owner", "--email", "me@example.com"], &config), PASSWORD);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let serve = Serve::start(&config);
    let run_one = |args: &[&str]| Process::run(&mut admin(&[&["audit"], args].concat(), &config));
    let list = run_one(&["list"]);
    assert_eq!(list.code, Some(0), "{}", list.stderr);
    let lines: Vec<&str> = list.stdout.lines().collect();
    assert!(lines.len() >= 3, "{}", list.stdout);
    // The newest is first, and events of no workspace are there, too.
    assert!(lines.first().unwrap().contains("member.added"), "{}", list.stdout);
    assert!(list.stdout.contains("signing_key.added"), "{}", list.stdout);
    let server = run_one(&["list", "--workspace", "-"]).stdout;
    assert!(
        server.contains("signing_key.added") && !server.contains("member.added"),
        "{server}"
    );
    assert_eq!(run_one(&["list", "--limit", "1"]).stdout.lines().count(), 1);
    assert_eq!(run_one(&["list", "--action", "nothing"]).stdout, "No event.");
    assert_eq!(
        run_one(&["list", "--since", "2100-01-01T00:00:00Z"]).stdout,
        "No event."
    );
    let exported = run_one(&["export"]).stdout;
    assert_eq!(exported.lines().count(), lines.len());
    let first: serde_json::Value = serde_json::from_str(exported.lines().next().unwrap()).unwrap();
    assert_eq!(first["action"], "signing_key.added", "{first}");
    let csv = dir.join("events.csv");
    let file = csv.to_str().unwrap();
    let done = run_one(&["export", "--format", "csv", "--file", file]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (Some(0), ""),
        "{}",
        done.stderr
    );
    let text = fs::read_to_string(&csv).unwrap();
    assert!(
        text.starts_with("id,at,action,") && text.lines().count() == lines.len() + 1,
        "{text}"
    );
    let again = run_one(&["export", "--file", file]);
    assert_eq!(again.code, Some(1), "an export is overwritten");
    serve.stop();
}

#[test]
fn password_is_reset_beside_a_server() {
    let dir = Scratch::new();
    let config = dir.write(
        "p.yaml",
        &format!("version: 1\n{NEW_CONTROL_PLANE}{OBSERVABILITY}"),
    );
    let serve = Serve::start(&config);
    let made = run(admin(&["owner", "--email", "me@example.com"], &config), PASSWORD);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let url = format!("{}/api/v1/session", serve.control.as_deref().unwrap());
    let sign_in = |password: &str| {
        let body = serde_json::json!({"email": "me@example.com", "password": password});
        super::support::web::post(&url).json(&body).send().status()
    };
    assert_eq!(sign_in(PASSWORD), 201);
    let reset = run(
        admin(&["reset-password", "--email", "me@example.com"], &config),
        "another long password",
    );
    assert_eq!(reset.code, Some(0), "{}", reset.stderr);
    assert!(reset.stdout.contains("Ended: 1 sessions"), "{}", reset.stdout);
    assert_eq!((sign_in(PASSWORD), sign_in("another long password")), (401, 201));
    serve.stop();
}

#[test]
fn restore_names_lost_revocations_and_ends_tokens() {
    let world = World::start();
    let (config, env) = (world.dir.join("portcullis.yaml"), &world.env);
    let backup = world.dir.join("yesterday.db");
    let token = env.token("", "tracking_api:write");
    let copied = Process::run(&mut admin(&["backup", "--to", backup.to_str().unwrap()], &config));
    assert_eq!(copied.code, Some(0), "{}", copied.stderr);
    env.revoke(&token);
    let restore = |flags: &[&str]| {
        let mut command = admin(
            &[&["restore", "--from", backup.to_str().unwrap()], flags].concat(),
            &config,
        );
        Process::run(&mut command)
    };
    let running = restore(&["--keep-tokens"]);
    assert_eq!(running.code, Some(1));
    assert!(
        running.stderr.contains("stop `portcullis serve`"),
        "{}",
        running.stderr
    );
    // The same issuer as before, on whichever port.
    let issuer = env.get("AUTH_SERVER").to_owned();
    let World {
        serve,
        upstream,
        dir,
        env,
    } = world;
    serve.stop();
    let asked = restore(&[]);
    assert_eq!(asked.code, Some(1));
    assert!(
        asked.stdout.contains("Newly allowed:\n  1 tokens of issuer"),
        "{}",
        asked.stdout
    );
    assert!(
        asked
            .stderr
            .contains("nothing was changed; choose --end-all-tokens"),
        "{}",
        asked.stderr
    );
    let done = restore(&["--end-all-tokens"]);
    assert_eq!(done.code, Some(0), "{} {}", done.stdout, done.stderr);
    assert!(dir.join("portcullis.db.before-restore").exists());
    fs::write(
        &config,
        fs::read_to_string(&config).unwrap() + &format!("  public_url: \"{issuer}\"\n"),
    )
    .unwrap();
    let serve = Serve::start(&config);
    let mut env_now = super::support::product::served_env(dir.path(), &serve);
    env_now.0.insert("AUTH_SERVER".to_owned(), issuer);
    assert_eq!(env_now.event("WRITE_KEY").bearer(&token).send().status(), 401);
    let fresh = env_now.token("", "tracking_api:write");
    assert_eq!(env_now.event("WRITE_KEY").bearer(&fresh).send().status(), 200);
    drop((upstream, env));
    serve.stop();
}
