//! `portcullis diff` says what a change of a config or policy file means for requests.

use std::path::Path;

use serde_json::Value;

use super::support::process::{Finished, Process, portcullis};
use super::support::scratch::Scratch;

const CONFIG: &str = r#"version: 1
gateway:
  listeners: [{address: "127.0.0.1:0"}]
  apis:
    tracking: {hosts: ["events.test"], paths: ["/v1/*"], scope: "tracking_api:write", identify: [basic, body], upstream: events}
    public: {hosts: ["api.test"], paths: ["/*"], scope: "public_api:read_write", identify: [token], upstream: events}
  upstreams:
    events: {servers: ["127.0.0.1:1"]}
  limits: {body_bytes: 1MiB, headers: 100}
policy: {source: file, file: policy.yaml, max_age: 1h}
issuers:
  - {issuer: "https://login.example.com", jwks_uri: "https://login.example.com/keys", algorithms: [ES256], audience: [events]}
"#;

const POLICY: &str = r#"apps:
  - {id: app_1, workspace: ws_1, issuer: "https://login.example.com", scopes: ["tracking_api:write"], keys: [key_1]}
  - {id: app_2, workspace: ws_1, issuer: "https://login.example.com", scopes: ["tracking_api:write"]}
sources:
  - {id: src_1, workspace: ws_1, write_key: wk_one_1, app: app_1, enforcement: "on"}
  - {id: src_2, workspace: ws_1, write_key: wk_two_1, app: app_1, enforcement: "observe"}
  - {id: src_3, workspace: ws_1, write_key: wk_three_1, app: app_2, enforcement: "off"}
"#;

fn diff(old: &Path, new: &Path, args: &[&str]) -> Finished {
    let mut command = portcullis(["diff"]);
    Process::run(command.arg(old).arg(new).args(args))
}

/// The three lists for one replacement in a text.
fn lists(old: &Path, new: &Path) -> [Vec<String>; 3] {
    let done = diff(old, new, &["--output", "json"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    ["newly_allowed", "newly_denied", "other"].map(|name| {
        let found = report[name].as_array().unwrap().iter();
        found.map(|one| one.as_str().unwrap().to_owned()).collect()
    })
}

/// Expects that each list has a sentence that begins so, and nothing else. `-` is an empty list.
fn assert_lists(what: &str, lists: &[Vec<String>; 3], starts: [&str; 3]) {
    for (list, start) in lists.iter().zip(starts) {
        match start {
            "-" => assert!(list.is_empty(), "{what}: {list:?}"),
            start => assert!(
                list.len() == 1 && list[0].starts_with(start),
                "{what}: `{start}` {list:?}"
            ),
        }
    }
}

#[test]
fn diff_of_policies_says_what_is_allowed_and_denied() {
    let dir = Scratch::new();
    let old = dir.write("old.yaml", POLICY);
    let source = |n: usize| POLICY.lines().nth(3 + n).unwrap().to_owned() + "\n";
    for (from, to, starts) in [
        (
            "enforcement: \"on\"",
            "enforcement: \"off\"",
            [
                "enforcement of source `src_1`: on -> off: requests without a valid token of app `app_1`",
                "-",
                "-",
            ],
        ),
        (
            "\"observe\"",
            "\"on\"",
            [
                "-",
                "enforcement of source `src_2`: observe -> on: requests without a valid token",
                "-",
            ],
        ),
        (
            "\"off\"",
            "\"observe\"",
            [
                "-",
                "-",
                "enforcement of source `src_3`: off -> observe: requests are judged",
            ],
        ),
        (
            "\"observe\"",
            "\"off\"",
            [
                "-",
                "-",
                "enforcement of source `src_2`: observe -> off: requests are no longer judged",
            ],
        ),
        (
            "app: app_1, enforcement: \"on\"",
            "app: app_2, enforcement: \"on\"",
            [
                "source `src_1` connected to app `app_1` -> app `app_2`: requests with a token of app `app_2`",
                "source `src_1` connected to app `app_1` -> app `app_2`: requests with a token of app `app_1`",
                "-",
            ],
        ),
        (
            "wk_one_1",
            "wk_one_2",
            [
                "source `src_1`: requests with its new write key",
                "source `src_1`: requests with its earlier write key",
                "-",
            ],
        ),
        (&source(1), "", ["-", "source `src_1` is removed", "-"]),
        (
            &source(1),
            &(source(1)
                + &source(3)
                    .replace("src_3", "src_4")
                    .replace("wk_three_1", "wk_four_1")),
            [
                "source `src_4` is added: requests with its write key alone",
                "-",
                "-",
            ],
        ),
        (
            "[\"tracking_api:write\"], keys",
            "[\"tracking_api:write\", \"functions:write\"], keys",
            [
                "app `app_1`: its tokens where an API needs scope `functions:write`",
                "-",
                "-",
            ],
        ),
        (
            "keys: [key_1]",
            "keys: [key_2]",
            [
                "app `app_1`: tokens that its key `key_2` requested",
                "app `app_1`: tokens that its key `key_1` requested",
                "-",
            ],
        ),
        (
            ", keys: [key_1]",
            "",
            [
                "app `app_1`: tokens that a key other than `key_1` requested",
                "-",
                "-",
            ],
        ),
        (
            "keys: [key_1]",
            "keys: [key_1], not_issued_before: 1700000000",
            [
                "-",
                "app `app_1`: its tokens issued before 2023-11-14T22:13:20Z",
                "-",
            ],
        ),
        (
            "sources:",
            "revoked: [{issuer: \"https://login.example.com\", jti: t1, expires_at: 4102444800}]\nsources:",
            [
                "-",
                "1 tokens of issuer `https://login.example.com` that are revoked",
                "-",
            ],
        ),
    ] {
        assert!(POLICY.contains(from), "{from}");
        let new = dir.write("new.yaml", &POLICY.replacen(from, to, 1));
        assert_lists(to, &lists(&old, &new), starts);
        // The other way round what was allowed is denied.
        let [allowed, denied, other] = lists(&new, &old);
        let counts = [starts[1] != "-", starts[0] != "-", starts[2] != "-"].map(usize::from);
        assert_eq!(
            [allowed.len(), denied.len(), other.len()],
            counts,
            "{to}: {allowed:?} {denied:?} {other:?}"
        );
    }
    let same = diff(&old, &old, &[]);
    assert_eq!((same.code, same.stdout.as_str()), (Some(0), "No difference."));
}

#[test]
fn diff_of_configs_says_what_is_allowed_and_denied() {
    let dir = Scratch::new();
    dir.write("policy.yaml", POLICY);
    let old = dir.write("old.yaml", CONFIG);
    for (from, to, starts) in [
        (
            "[\"/v1/*\"]",
            "[\"/v1/*\", {path: \"/v2\", methods: [POST]}]",
            ["API `tracking`: requests to `POST /v2`", "-", "-"],
        ),
        (
            "[\"events.test\"]",
            "[\"e.test\"]",
            [
                "API `tracking`: requests to host `e.test`",
                "API `tracking`: requests to host `events.test`",
                "-",
            ],
        ),
        (
            "[basic, body]",
            "[body]",
            [
                "-",
                "API `tracking`: requests that name their source as the user of HTTP Basic",
                "-",
            ],
        ),
        (
            "identify: [token]",
            "identify: [token], without_token: forward",
            ["API `public`: requests without an access token", "-", "-"],
        ),
        (
            "[basic, body], up",
            "[basic, body], unknown_sources: forward, up",
            [
                "API `tracking`: requests with a write key that no source has",
                "-",
                "-",
            ],
        ),
        (
            "[basic, body], up",
            "[basic, body], reauthenticate_status: 511, up",
            ["-", "-", "API `tracking` answers 401 -> 511"],
        ),
        (
            "body_bytes: 1MiB",
            "body_bytes: 2MiB",
            ["bodies, in bytes, beyond 1048576, up to 2097152", "-", "-"],
        ),
        (
            "headers: 100",
            "headers: 50",
            ["-", "headers, in number, beyond 50; up to 100 before", "-"],
        ),
        (
            "max_age: 1h",
            "max_age: 1h, when_stale: allow",
            [
                "when_stale deny -> allow",
                "-",
                "`policy.when_stale` takes effect after a restart",
            ],
        ),
        (
            "audience: [events]",
            "audience: [other]",
            [
                "issuer `https://login.example.com`: tokens for audience `other`",
                "issuer `https://login.example.com`: tokens for audience `events`",
                "`issuers[0].audience` takes effect after a restart",
            ],
        ),
        (
            "[\"127.0.0.1:1\"]",
            "[\"127.0.0.1:2\"]",
            ["-", "-", "`gateway.upstreams.events.servers` changes"],
        ),
    ] {
        assert!(CONFIG.contains(from), "{from}");
        let new = dir.write("new.yaml", &CONFIG.replacen(from, to, 1));
        assert_lists(to, &lists(&old, &new), starts);
    }
    // The policy files that two configs name are compared, too.
    dir.write("other.yaml", &POLICY.replacen("\"on\"", "\"off\"", 1));
    let new = dir.write("new.yaml", &CONFIG.replacen("policy.yaml", "other.yaml", 1));
    let text = diff(&old, &new, &[]).stdout;
    assert!(
        text.starts_with("Newly allowed:\n  enforcement of source `src_1`: on -> off"),
        "{text}"
    );
    assert!(
        text.contains("\nOther changes:\n  the policy comes from the file "),
        "{text}"
    );
}

#[test]
fn diff_refuses_files_that_cannot_be_compared() {
    let dir = Scratch::new();
    let policy = dir.write("policy.yaml", POLICY);
    let config = dir.write("portcullis.yaml", CONFIG);
    let broken = dir.write("broken.yaml", "version: 1\ngatway: {}\n");
    for (old, new, words) in [
        (
            &config,
            &policy,
            "one file is a config and the other a policy file",
        ),
        (&config, &broken, "did you mean `gateway`?"),
        (&dir.join("nowhere.yaml"), &config, "file not found"),
    ] {
        let done = diff(old, new, &[]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""), "{words}");
        assert!(done.stderr.contains(words), "{}", done.stderr);
    }
}
