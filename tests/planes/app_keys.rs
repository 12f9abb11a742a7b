//! An app's key replaced while its clients go on: no request fails, and what the old key proved ends with it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use super::support::process::eventually;
use super::support::product::{Env, World, key_pair};
use super::support::secrets;

const SCOPE: &str = "tracking_api:write";

/// A key of an app: its id here, and the file of its private half.
struct Key {
    id: String,
    file: String,
}

/// A client that goes on: a new token and an event with it, again and again. It takes the newest key that it was
/// given, and notes how many tokens each has proved.
fn client(
    env: &Env,
    keys: &Mutex<Vec<Key>>,
    stop: &AtomicBool,
    proved: &[AtomicU64; 2],
    last: &Mutex<String>,
) {
    while !stop.load(Ordering::Relaxed) {
        let (at, key, file) = {
            let keys = keys.lock().unwrap();
            let key = keys.last().unwrap();
            (keys.len() - 1, key.id.clone(), key.file.clone())
        };
        let issued = env.try_token_by(env.get("CLIENT_ID"), &key, &file, SCOPE);
        assert_eq!(issued.code, Some(0), "key {at}: {}", issued.stderr);
        secrets::note([issued.stdout.as_str()]);
        let verdict = env.event("WRITE_KEY").bearer(&issued.stdout).send().verdict();
        assert_eq!(verdict, (200, String::new()), "key {at}");
        proved[at].fetch_add(1, Ordering::Relaxed);
        *last.lock().unwrap() = issued.stdout;
    }
}

#[test]
fn replacing_a_key_fails_no_request_and_ends_what_it_proved() {
    let world = World::start();
    let env = &world.env;
    let app = format!("/apps/{}", env.get("CLIENT_ID"));
    let send = |key: &str, token: &str| env.event(key).bearer(token).send().verdict();
    let taken = (200, String::new());
    let of_other_app = env.token("OTHER_", SCOPE);
    let keys = Mutex::new(vec![Key {
        id: env.get("KEY_ID").to_owned(),
        file: env.get("PRIVATE_KEY_FILE").to_owned(),
    }]);
    let (file, public) = key_pair(&world.dir);
    let stop = AtomicBool::new(false);
    let clients: [(_, Mutex<String>); 3] = Default::default();
    std::thread::scope(|scope| {
        for (proved, last) in &clients {
            scope.spawn(|| client(env, &keys, &stop, proved, last));
        }
        // Also where the story fails: the clients would go on for ever.
        let _stopped = Stop(&stop);
        let go_on = |at: usize| {
            let so_far: Vec<u64> = counts(&clients, at);
            eventually("every client has got two tokens more", || {
                counts(&clients, at)
                    .iter()
                    .zip(&so_far)
                    .all(|(now, then)| *now >= then + 2)
            });
        };
        go_on(0);
        let old: Vec<String> = clients
            .iter()
            .map(|(_, last)| last.lock().unwrap().clone())
            .collect();
        let made = env.change(
            "POST",
            &format!("{app}/keys"),
            &json!({"name": "second", "pem": public}),
        );
        let id = made["id"].as_str().unwrap().to_owned();
        // Both are good; the clients still use the first.
        go_on(0);
        keys.lock().unwrap().push(Key { id, file });
        go_on(1);
        let first = env.get("KEY_ID");
        env.change("DELETE", &format!("{app}/keys/{first}"), &Value::Null);
        let last: Vec<String> = clients
            .iter()
            .map(|(_, last)| last.lock().unwrap().clone())
            .collect();
        for token in &old {
            assert_eq!(send("WRITE_KEY", token), (401, "token_revoked".to_owned()));
        }
        for token in &last {
            assert_eq!(send("WRITE_KEY", token), taken);
        }
        assert_eq!(send("OTHER_WRITE_KEY", &of_other_app), taken);
        go_on(1);
    });
    let old = env.try_token("", SCOPE);
    assert_eq!(old.code, Some(1));
    assert!(old.stderr.contains("invalid_client"), "{}", old.stderr);
    world.serve.stop();
}

fn counts(clients: &[([AtomicU64; 2], Mutex<String>); 3], at: usize) -> Vec<u64> {
    let counts = clients
        .iter()
        .map(|(proved, _)| proved[at].load(Ordering::Relaxed));
    counts.collect()
}

/// Says stop when it goes away.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
