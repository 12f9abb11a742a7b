//! Our signing keys rotated next to a running server, as an operator does it: in order without one failed request,
//! and in an emergency with every token of a key refused.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};

use super::support::process::{Finished, Process, eventually, portcullis};
use super::support::product::{Env, World};
use super::support::scratch::Scratch;
use super::support::web::get;

const SCOPE: &str = "tracking_api:write";

/// `portcullis admin WORDS... --config CONFIG`.
fn admin(words: &[&str], config: &Path) -> Finished {
    let mut command: Command = portcullis(["admin"]);
    Process::run(command.args(words).arg("--config").arg(config))
}

/// The same, where success is taken for granted.
fn administered(words: &[&str], config: &Path) -> String {
    let done = admin(words, config);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout
}

/// The key that a token names.
fn kid(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

fn published(env: &Env) -> Vec<String> {
    let keys = get(env.get("JWKS_URL")).send().json();
    let keys = keys["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// Runs statements on the store of a world, next to the product.
fn sql(world: &World, statements: &[&str]) -> Vec<(String, String, String)> {
    let url = format!("sqlite:{}", world.dir.join("portcullis.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut store = SqliteConnection::connect(&url).await.unwrap();
        for text in statements {
            sqlx::query(sqlx::AssertSqlSafe((*text).to_owned()))
                .execute(&mut store)
                .await
                .unwrap();
        }
        let events = sqlx::query_as(
            "SELECT action, actor_id, coalesce(changed_from, '') FROM audit_events \
             WHERE resource_type = 'signing_key' ORDER BY position",
        )
        .fetch_all(&mut store)
        .await
        .unwrap();
        store.close().await.unwrap();
        events
    })
}

/// Sends events with ever new tokens until told to stop. Every one of them must be taken.
fn keep_sending(env: &Env, stop: &AtomicBool, sent: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let token = env.token("", SCOPE);
        let verdict = env.event("WRITE_KEY").bearer(&token).send().verdict();
        assert_eq!(
            verdict,
            (200, String::new()),
            "a token of the key {}",
            kid(&token)
        );
        sent.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn rotation_fails_no_request_and_an_emergency_ends_the_tokens_of_a_key() {
    let world = World::start();
    let (env, config) = (&world.env, world.dir.join("portcullis.yaml"));
    let send = |token: &str| env.event("WRITE_KEY").bearer(token).send().verdict();
    let refused = (401, "token_key_unknown".to_owned());
    let taken = (200, String::new());
    let of_first = env.token("", SCOPE);
    let first = kid(&of_first);

    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let of_second = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| keep_sending(env, &stop, &sent));
        }
        // Also where the story fails: the senders would go on for ever.
        let _stopped = Stop(&stop);
        let said = administered(&["rotate-signing-key"], &config);
        assert!(
            said.contains("made and published") && said.contains(" signs from ") && said.contains(&first),
            "{said}"
        );
        let again = administered(&["rotate-signing-key"], &config);
        assert!(again.contains("nothing is changed"), "{again}");
        eventually("the next key is published", || published(env).len() == 2);
        assert_eq!(
            kid(&env.token("", SCOPE)),
            first,
            "published, and not signing yet"
        );

        // Its moment is brought near: the shortest time to be published is six minutes.
        let by = "(SELECT max(signs_from) - unixepoch() - 3 FROM signing_keys)";
        let next = "signs_until IS NULL";
        sql(
            &world,
            &[
                &format!("UPDATE signing_keys SET signs_until = signs_until - {by} WHERE NOT {next}"),
                &format!("UPDATE signing_keys SET signs_from = signs_from - {by} WHERE {next}"),
            ],
        );
        let mut of_second = String::new();
        eventually("the next key signs", || {
            of_second = env.token("", SCOPE);
            kid(&of_second) != first
        });
        assert!(published(env).contains(&kid(&of_second)));
        let so_far = sent.load(Ordering::Relaxed);
        eventually("more events are sent", || {
            sent.load(Ordering::Relaxed) >= so_far + 4
        });
        of_second
    });
    assert_eq!(
        (send(&of_first), send(&of_second)),
        (taken.clone(), taken.clone())
    );

    let said = administered(&["rotate-signing-key", "--emergency"], &config);
    assert!(
        said.contains(&format!("The key {} is ended", kid(&of_second))),
        "{said}"
    );
    eventually("the tokens of the ended key are refused", || {
        send(&of_second) == refused
    });
    let mut of_third = String::new();
    eventually("new tokens are taken", || {
        of_third = env.token("", SCOPE);
        send(&of_third) == taken
    });
    assert!(![&first, &kid(&of_second)].contains(&&kid(&of_third)));
    assert_eq!(send(&of_first), taken, "its key was not ended");

    administered(&["rotate-signing-key", "--emergency", "--key", &first], &config);
    eventually("the tokens of the first key are refused", || {
        send(&of_first) == refused
    });
    assert_eq!(send(&of_third), taken);
    administered(&["rotate-signing-key", "--emergency", "--all"], &config);
    eventually("no token of before is taken", || send(&of_third) == refused);
    eventually("new tokens are taken", || send(&env.token("", SCOPE)) == taken);
    let shown = administered(&["signing-keys"], &config);
    assert!(
        shown.contains(&published(env)[0]) && shown.contains("signs now"),
        "{shown}"
    );

    let events = sql(&world, &[]);
    let done: Vec<_> = events
        .iter()
        .map(|(action, by, _)| (action.as_str(), by.as_str()))
        .collect();
    let ended = ("signing_key.ended", "admin");
    assert_eq!(
        done[done.len() - 4..],
        [("signing_key.added", "admin"), ended, ended, ended]
    );
    assert!(events[events.len() - 2].2.contains(&first), "{events:?}");
    let verified = administered(&["audit", "verify"], &config);
    assert!(verified.contains("The trail is whole"), "{verified}");
    world.serve.stop();
}

#[test]
fn what_cannot_be_rotated_is_said() {
    let world = World::start();
    let config = world.dir.join("portcullis.yaml");
    let none = admin(&["rotate-signing-key", "--emergency", "--key", "nosuch"], &config);
    assert_eq!(none.code, Some(1));
    assert!(
        none.stderr.contains("`portcullis admin signing-keys` shows"),
        "{}",
        none.stderr
    );
    for words in [
        &["rotate-signing-key", "--all"][..],
        &["rotate-signing-key", "--emergency", "--all", "--key", "k"],
    ] {
        assert_eq!(admin(words, &config).code, Some(2));
    }
    // The server could not read a key that is sealed with another one.
    let text = std::fs::read_to_string(&config).unwrap();
    let other = text.replace("file:signing-encryption.key", "file:other.key");
    world
        .dir
        .write("other.key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
    let other = admin(&["rotate-signing-key"], &world.dir.write("other.yaml", &other));
    assert_eq!(other.code, Some(1));
    assert!(other.stderr.contains("key_encryption_key"), "{}", other.stderr);
    world.serve.stop();

    let dir = Scratch::new();
    let empty = "version: 1\ncontrol_plane:\n  listen: \"127.0.0.1:0\"\n  store: \"sqlite:none.db\"\n";
    let nothing = admin(&["rotate-signing-key"], &dir.write("p.yaml", empty));
    assert_eq!(nothing.code, Some(1));
    assert!(
        nothing.stderr.contains("cannot read the store"),
        "{}",
        nothing.stderr
    );
    assert!(!dir.join("none.db").exists());
}

/// Says stop when it goes away.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
