//! No room for the store: changes are refused with a clear answer and nothing is half done, reading and deciding go
//! on, and with room everything works again.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::kills::check;
use super::support::load::series;
use super::support::process::{Process, eventually, portcullis};
use super::support::product::{
    CONTROL_PLANE, Env, OBSERVABILITY, Serve, Wishes, gateway, quickstart_data, served_env,
};
use super::support::recorder::Recorder;
use super::support::scratch::Scratch;
use super::support::secrets;

const SCOPE: &str = "tracking_api:write";

/// Room on the disk of the store, in KiB.
const DISK_KIB: u32 = 12 * 1_024;

/// Runs `serve` with its store on a small disk of its own, which goes away with it.
const ON_SMALL_DISK: &str = r#"
mkdir "$FOLDER/small" && mount -t tmpfs -o "size=${KIB}k" none "$FOLDER/small" &&
cp "$FOLDER/portcullis.db" "$FOLDER/small/" && exec "$@"
"#;

/// Runs `serve` so that a write beyond the limit of a file's size fails and does not end the process.
const LIMITED: &str =
    r#"mkdir "$FOLDER/small" && cp "$FOLDER/portcullis.db" "$FOLDER/small/" && trap '' XFSZ && exec "$@""#;

/// A command that runs a script with `serve` as its words.
fn serve_by(mut shell: Command, script: &str, dir: &Scratch, config: &Path) -> Serve {
    let serve = portcullis(["serve", "--config"]);
    shell
        .args(["sh", "-c", script, "serve"])
        .arg(serve.get_program())
        .args(serve.get_args())
        .arg(config)
        .env("FOLDER", dir.path())
        .env("KIB", DISK_KIB.to_string());
    Serve::by(&mut shell)
}

/// A disk can be mounted by root, or by who may be root in a user namespace.
fn namespace() -> Option<Command> {
    [&["-m"][..], &["-rm"]].into_iter().find_map(|flags| {
        let mut command = Command::new("unshare");
        command.args(flags);
        let tried = Command::new("unshare")
            .args(flags)
            .args(["sh", "-c", "mount -t tmpfs -o size=64k none /mnt"])
            .output()
            .ok()?;
        tried.status.success().then_some(command)
    })
}

/// Takes away the room of a store and gives it back while `serve` runs.
struct Room<'r> {
    take: &'r dyn Fn(&Serve),
    give: &'r dyn Fn(&Serve),
    problem: &'static str,
    status: u16,
}

fn config(dir: &Scratch, upstream: &Recorder) -> std::path::PathBuf {
    let control = CONTROL_PLANE.replace("sqlite:portcullis.db", "sqlite:small/portcullis.db");
    dir.write(
        "small.yaml",
        &(gateway(upstream, &Wishes::default()) + OBSERVABILITY + &control),
    )
}

/// The story, however the room is taken away.
fn check_full(serve: &Serve, env: &Env, room: &Room<'_>) -> Vec<(String, String)> {
    let send = |token: &str| env.event("WRITE_KEY").bearer(token).send().verdict();
    let (token, revoked) = (env.token("", SCOPE), env.token("", SCOPE));
    env.revoke(&revoked);
    let mut kept = Vec::new();
    let mut make = || {
        let name = format!("s{}", kept.len());
        let answer = env.manage("POST", "/sources", &json!({"name": name, "kind": "python"}));
        let made = answer.json();
        if answer.status() == 201 {
            secrets::note([made["write_key"].as_str().unwrap()]);
            kept.push((made["id"].as_str().unwrap().to_owned(), name));
            return None;
        }
        Some((answer.status(), made))
    };
    assert!(make().is_none());
    (room.take)(serve);
    let mut refused = None;
    // What the log of the store has room for already is still taken.
    eventually("a change finds no room", || {
        refused = make();
        refused.is_some()
    });
    let (status, problem) = refused.unwrap();
    assert_eq!(
        (status, problem["type"].as_str()),
        (room.status, Some(room.problem)),
        "{problem}"
    );
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("nothing was changed"),
        "{problem}"
    );
    // Reading and deciding go on.
    let listed = env.manage("GET", "/sources?limit=1", &Value::Null);
    assert_eq!(listed.status(), 200);
    assert_eq!(send(&token), (200, String::new()));
    assert_eq!(send(&revoked), (401, "token_revoked".to_owned()));
    let failures = series(&serve.metrics(), "portcullis_store_failures_total");
    assert!(failures.values().any(|count| *count > 0.0), "{failures:?}");
    eventually("no token is issued while its assertion cannot be noted", || {
        env.try_token("", SCOPE)
            .stderr
            .contains("temporarily_unavailable")
    });

    (room.give)(serve);
    eventually("a change finds room again", || make().is_none());
    let new = env.token("", SCOPE);
    assert_eq!(send(&new), (200, String::new()));
    env.revoke(&new);
    assert_eq!(send(&new), (401, "token_revoked".to_owned()));
    kept
}

fn check_store(url: &str, kept: &[(String, String)]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(check(url, kept));
}

#[test]
fn full_disk_refuses_changes_and_nothing_else() {
    let Some(namespace) = namespace() else {
        println!("no disk can be mounted here; the test with a limit of the file's size says the same");
        return;
    };
    let (dir, upstream) = (quickstart_data(), Recorder::start());
    let config = config(&dir, &upstream);
    let serve = serve_by(namespace, ON_SMALL_DISK, &dir, &config);
    let env = served_env(dir.path(), &serve);
    let filler = format!(
        "/proc/{}/root{}/small/filler",
        serve.process.id(),
        dir.path().display()
    );
    let room = Room {
        // It ends with an error, when the disk is full.
        take: &|_| assert!(fs::write(&filler, vec![0; DISK_KIB as usize * 1_024]).is_err()),
        give: &|_| fs::remove_file(&filler).unwrap(),
        problem: "urn:portcullis:problem:store-full",
        status: 507,
    };
    let kept = check_full(&serve, &env, &room);
    // The disk goes away with the process that has it mounted.
    let copy = dir.join("copy.db");
    let mut inside = Command::new("nsenter");
    let backup = portcullis(["admin", "backup", "--config"]);
    inside
        .args(["-t", &serve.process.id().to_string(), "-m"])
        .arg(backup.get_program())
        .args(backup.get_args())
        .arg(&config)
        .arg("--to")
        .arg(&copy);
    let copied = Process::run(&mut inside);
    assert_eq!(copied.code, Some(0), "{}", copied.stderr);
    serve.stop();
    check_store(&format!("sqlite:{}", copy.display()), &kept);
}

#[test]
fn limit_of_a_files_size_refuses_changes_and_nothing_else() {
    let (dir, upstream) = (quickstart_data(), Recorder::start());
    let config = config(&dir, &upstream);
    let serve = serve_by(Command::new("env"), LIMITED, &dir, &config);
    let env = served_env(dir.path(), &serve);
    let limit = |serve: &Serve, bytes: &str| {
        let pid = serve.process.id().to_string();
        let set = Process::run(Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]));
        assert_eq!(set.code, Some(0), "{}", set.stderr);
    };
    let room = Room {
        take: &|serve| limit(serve, "4096"),
        give: &|serve| limit(serve, "unlimited"),
        problem: "urn:portcullis:problem:store-unavailable",
        status: 503,
    };
    let kept = check_full(&serve, &env, &room);
    serve.stop();
    check_store(
        &format!("sqlite:{}", dir.join("small/portcullis.db").display()),
        &kept,
    );
}
