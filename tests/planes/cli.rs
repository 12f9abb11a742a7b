//! Mistakes on the command line and in the config: one clear sentence on standard error, and the right exit code.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::support::process::{Finished, Process, portcullis};
use super::support::product::{
    CONTROL_PLANE, NEW_CONTROL_PLANE, OBSERVABILITY, Quickstart, Serve, Wishes, change_store, gateway,
    quickstart_data,
};
use super::support::recorder::Recorder;
use super::support::scratch::Scratch;

/// The user's input is wrong.
const INPUT: i32 = 1;

/// The command line is wrong.
const USAGE: i32 = 2;

/// The environment is not there yet.
const ENVIRONMENT: i32 = 75;

/// Runs a command that must fail with this code and words, and say nothing else.
fn check_failure(command: &mut Command, code: i32, words: &[&str]) {
    let Finished {
        code: got,
        stdout,
        stderr,
    } = Process::run(command);
    assert_eq!(got, Some(code), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "`{word}` is not in: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    // Quickstart says first where it writes.
    let shown: Vec<&str> = stdout
        .lines()
        .filter(|line| !line.starts_with("portcullis quickstart writes to "))
        .collect();
    assert_eq!(shown, [""; 0]);
}

fn check_sentence(command: &mut Command, words: &[&str]) {
    check_sentence_and_code(command, INPUT, words);
}

fn check_sentence_and_code(command: &mut Command, code: i32, words: &[&str]) {
    check_failure(command, code, words);
    // Warnings of the config are log records.
    let stderr = Process::run(command).stderr;
    let lines = stderr.lines().filter(|line| !line.starts_with('{'));
    let sentence = lines.collect::<Vec<_>>().join("\n");
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    assert!(sentence.starts_with("portcullis: "), "{sentence}");
}

fn serve(config: &Path) -> Command {
    let mut command = portcullis(["serve", "--config"]);
    command.arg(config);
    command
}

fn check(config: &Path) -> Command {
    let mut command = portcullis(["check"]);
    command.arg(config);
    command
}

/// Quickstart in `dir`, with one of its four addresses given.
fn quickstart(dir: &Path, flag: &str, address: &str) -> Command {
    let mut command = portcullis(["quickstart", "--dir"]);
    command.arg(dir);
    for known in ["--gateway", "--control-plane", "--observability", "--upstream"] {
        command.args([known, if known == flag { address } else { "127.0.0.1:0" }]);
    }
    command
}

#[test]
fn help_names_every_command_and_version_the_build() {
    let help = Process::run(&mut portcullis(["--help"]));
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for command in ["quickstart", "serve", "check", "token"] {
        let shown = help
            .stdout
            .lines()
            .any(|line| line.trim_start().starts_with(command));
        assert!(shown, "{command}: {}", help.stdout);
        let own = Process::run(&mut portcullis([command, "--help"]));
        assert_eq!(own.code, Some(0));
        assert!(own.stdout.contains("Usage: portcullis"), "{command}");
    }
    let version = Process::run(&mut portcullis(["--version"]));
    assert_eq!(version.stdout, concat!("portcullis ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_is_told_from_wrong_input() {
    check_failure(&mut portcullis([]), USAGE, &["Usage: portcullis"]);
    check_failure(&mut portcullis(["open"]), USAGE, &["open", "--help"]);
    check_failure(&mut portcullis(["serve"]), USAGE, &["--config <FILE>"]);
    check_failure(&mut portcullis(["check"]), USAGE, &["<FILE>"]);
    check_failure(&mut portcullis(["quickstart", "--port", "1"]), USAGE, &["--port"]);
    check_failure(
        &mut portcullis(["quickstart", "--reauthenticate-status", "403"]),
        USAGE,
        &["401 or 511"],
    );
    check_failure(
        &mut portcullis(["token", "--json", "--header"]),
        USAGE,
        &["--header"],
    );
}

#[test]
fn port_that_is_taken_is_named() {
    let dir = Scratch::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--gateway", "--control-plane", "--observability", "--upstream"] {
        check_sentence_and_code(
            &mut quickstart(dir.path(), flag, &address),
            ENVIRONMENT,
            &["cannot listen on", &address, "another process listens there"],
        );
    }
    let config = NEW_CONTROL_PLANE.replace("127.0.0.1:0", &address);
    let config = dir.write("taken.yaml", &format!("version: 1\n{config}"));
    check_sentence_and_code(&mut serve(&config), ENVIRONMENT, &["cannot listen on", &address]);
}

#[test]
fn address_that_is_none_is_refused() {
    let dir = Scratch::new();
    for (address, code) in [
        ("localhost", INPUT),
        ("127.0.0.1:99999", INPUT),
        ("no-such-host.invalid:1", ENVIRONMENT),
    ] {
        check_sentence_and_code(
            &mut quickstart(dir.path(), "--gateway", address),
            code,
            &["cannot listen on", address],
        );
    }
}

#[test]
fn missing_and_unreadable_configs_are_named() {
    let dir = Scratch::new();
    for command in [serve, check] {
        check_failure(
            &mut command(&dir.join("nothing.yaml")),
            INPUT,
            &["nothing.yaml: error: file not found", "hint: "],
        );
        check_failure(&mut command(dir.path()), INPUT, &["cannot be read"]);
        let binary = dir.join("binary.yaml");
        fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
        check_failure(&mut command(&binary), INPUT, &["binary.yaml", "UTF-8"]);
        check_failure(&mut command(&dir.write("empty.yaml", "")), INPUT, &["empty.yaml"]);
    }
}

#[test]
fn every_problem_of_a_config_is_shown_with_its_place_and_a_hint() {
    let dir = Scratch::new();
    let good = gateway(&Recorder::start(), &Wishes::default()) + OBSERVABILITY + NEW_CONTROL_PLANE;
    let path = dir.write("good.yaml", &good);
    let fine = Process::run(&mut check(&path));
    assert_eq!(fine.code, Some(0), "{}", fine.stderr);
    assert_eq!(fine.stdout, format!("{}: fine", path.display()));
    // One thing to know about it: its signing keys are not encrypted.
    let warnings = fine.stderr.lines().filter(|line| line.contains(": warning["));
    assert!(
        warnings.eq(fine
            .stderr
            .lines()
            .filter(|line| line.contains("warning[W010]: ")))
    );
    let strict = Process::run(check(&path).arg("--strict"));
    assert_eq!((strict.code, strict.stdout.as_str()), (Some(INPUT), ""));

    let place = |text: &str, word: &str| {
        let (at, line) = text
            .lines()
            .enumerate()
            .find(|(_, line)| line.contains(word))
            .unwrap();
        format!("bad.yaml:{}:{}: error: ", at + 1, line.find(word).unwrap() + 1)
    };
    let bad = good
        .replace(
            "upstream: api\n      reauthenticate_status: 401",
            "upstream: apj\n      reauthenticate_status: 403",
        )
        .replace("[basic, body]", "[basic, cookie]")
        .replace("sqlite:portcullis.db", "mysql:portcullis");
    let path = dir.write("bad.yaml", &bad);
    for command in [check, serve] {
        check_failure(
            &mut command(&path),
            INPUT,
            &[
                &place(&bad, "apj"),
                "unknown upstream `apj`",
                "hint: did you mean `api`?",
                &place(&bad, "403"),
                "the status is neither 401 nor 511",
                &place(&bad, "cookie"),
                "hint: use basic, body, query:NAME",
                &place(&bad, "\"mysql"),
                "write sqlite:PATH or postgres:",
            ],
        );
    }
    let typo = good.replace("paths:", "path:");
    check_failure(
        &mut check(&dir.write("bad.yaml", &typo)),
        INPUT,
        &[
            &place(&typo, "path:"),
            "unknown key `path`",
            "hint: did you mean `paths`?",
        ],
    );
    let variable = good.replace("sqlite:portcullis.db", "sqlite:${NOT_SET}/x.db");
    check_failure(
        &mut check(&dir.write("bad.yaml", &variable)),
        INPUT,
        &[&place(&variable, "\"sqlite"), "no variable `NOT_SET`", "hint: "],
    );
}

#[test]
fn config_without_what_its_planes_need_is_refused() {
    let dir = Scratch::new();
    let upstream = Recorder::start();
    let alone = gateway(&upstream, &Wishes::default());
    check_failure(
        &mut check(&dir.write("alone.yaml", &alone)),
        INPUT,
        &[
            "alone.yaml:4:",
            "no policy would reach the gateway",
            "hint: add a `control_plane:` section",
        ],
    );
    let file = format!("{alone}policy: {{source: file, file: policy.yaml}}\nissuers: []\n");
    let config = dir.write("file.yaml", &file);
    check_failure(
        &mut check(&config),
        INPUT,
        &["policy.yaml: error: file not found"],
    );
    dir.write("policy.yaml", "\n");
    check_failure(
        &mut check(&config),
        INPUT,
        &["policy.yaml: error: the file is empty", "hint: "],
    );
    dir.write(
        "policy.yaml",
        "sources:\n  - {id: src_1, workspace: ws_1, write_key: wk_1, app: none, enforcement: \"on\"}\n",
    );
    check_failure(
        &mut check(&config),
        INPUT,
        &[
            "policy.yaml:2:",
            "app `none` not found",
            "hint: add it under `apps:`",
        ],
    );
}

#[test]
fn folder_that_cannot_be_made_is_named() {
    let dir = Scratch::new();
    let file = dir.write("file", "");
    check_sentence(
        &mut quickstart(&file.join("below"), "", ""),
        &["file/below cannot be made", "--dir"],
    );
    check_sentence(&mut quickstart(&file, "", ""), &["cannot be made", "--dir"]);
}

#[test]
fn store_that_cannot_be_used_is_named() {
    let dir = Scratch::new();
    let with_store = |store: &Path| {
        let config = NEW_CONTROL_PLANE.replace("portcullis.db", &store.display().to_string());
        serve(&dir.write("store.yaml", &format!("version: 1\n{config}")))
    };
    let file = dir.write("file", "");
    check_sentence(
        &mut with_store(&file.join("store.db")),
        &["cannot write to the store", "choose another path"],
    );
    let folder = dir.join("folder.db");
    fs::create_dir(&folder).unwrap();
    check_sentence(
        &mut with_store(&folder),
        &["cannot write to the store", "folder.db"],
    );
    let text = dir.write("text.db", &"this is no database\n".repeat(100));
    check_sentence(&mut with_store(&text), &["text.db", "is not a portcullis store"]);
}

#[test]
fn store_of_another_process_is_left_alone() {
    let data = quickstart_data();
    let running = Quickstart::start(data.path());
    check_sentence_and_code(
        &mut quickstart(data.path(), "", ""),
        ENVIRONMENT,
        &["portcullis.db", "in use by another portcullis process"],
    );
    let token = running.env.token("", "tracking_api:write");
    assert_eq!(running.env.event("WRITE_KEY").bearer(&token).send().status(), 200);
    running.stop();
}

#[test]
fn store_of_a_newer_build_is_refused() {
    let data = quickstart_data();
    change_store(
        data.path(),
        &[
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 0)",
        ],
    );
    check_sentence(
        &mut quickstart(data.path(), "", ""),
        &["written by a newer portcullis", "9999", "run the newer build"],
    );
}

#[test]
fn token_says_what_is_missing_or_wrong() {
    let data = quickstart_data();
    let quickstart = Quickstart::start(data.path());
    let env = |change: &dyn Fn(&mut Command)| {
        let mut command = portcullis(["token", "--env"]);
        command.arg(data.join("env"));
        change(&mut command);
        command
    };
    let fetched = Process::run(&mut env(&|_| {}));
    assert_eq!((fetched.code, fetched.stderr.as_str()), (Some(0), ""));
    super::support::secrets::note([fetched.stdout.as_str()]);

    check_sentence(
        &mut portcullis(["token"]),
        &["no TOKEN_URL is known", "--token-url"],
    );
    let mut nothing = portcullis(["token", "--env", "/nothing/env"]);
    check_sentence(&mut nothing, &["/nothing/env cannot be read"]);
    let flag = |name: &'static str, value: String| {
        env(&move |command| {
            command.args([name, value.as_str()]);
        })
    };
    check_sentence(
        &mut flag("--private-key", "/nothing.pem".to_owned()),
        &["/nothing.pem"],
    );
    let env_file = data.join("env").display().to_string();
    check_sentence(
        &mut flag("--private-key", env_file.clone()),
        &[&env_file, "private key"],
    );
    let other_key = quickstart.env.get("OTHER_PRIVATE_KEY_FILE").to_owned();
    check_sentence(
        &mut flag("--private-key", other_key),
        &["refused (401)", "invalid_client", "private key"],
    );
    check_sentence(
        &mut flag("--key-id", "key_nobody".to_owned()),
        &["refused (401)", "invalid_client"],
    );
    check_sentence(
        &mut flag("--client-id", "app_nobody".to_owned()),
        &["refused (401)", "invalid_client"],
    );
    check_sentence(
        &mut flag("--scope", "everything".to_owned()),
        &["refused (400)", "invalid_scope", "everything"],
    );
    check_sentence(
        &mut flag("--auth-server", "http://else.test".to_owned()),
        &["refused (401)", "aud"],
    );
    check_sentence(&mut flag("--token-url", "no url".to_owned()), &["no url"]);
    let elsewhere = format!("{}/elsewhere", quickstart.env.get("AUTH_SERVER"));
    check_sentence(&mut flag("--token-url", elsewhere), &["refused (404)"]);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    check_sentence(
        &mut flag("--token-url", format!("http://{free}/token")),
        &["does not answer", "refused"],
    );
    quickstart.stop();
}

#[test]
fn serve_names_where_it_listens() {
    let data = quickstart_data();
    let config = data.write(
        "control.yaml",
        &format!("version: 1\n{CONTROL_PLANE}{OBSERVABILITY}"),
    );
    let serve = Serve::start(&config);
    assert!(serve.gateway.is_none() && serve.control.is_some());
    serve.stop();
}

#[test]
fn log_filter_that_cannot_be_read_is_said_and_left_aside() {
    let data = quickstart_data();
    let config = data.write(
        "control.yaml",
        &format!("version: 1\n{CONTROL_PLANE}{OBSERVABILITY}"),
    );
    let said = |filter: Option<&str>| {
        let mut command = serve(&config);
        if let Some(filter) = filter {
            command.env("PORTCULLIS_LOG", filter);
        }
        let output = Serve::by(&mut command).stop().stderr;
        (output.contains("PORTCULLIS_LOG cannot be read"), output)
    };
    let (warned, output) = said(Some("portcullis=loudly"));
    assert!(warned && output.contains("write it like"), "{output}");
    for fine in [None, Some("info")] {
        let (warned, output) = said(fine);
        assert!(!warned, "{output}");
    }
}
