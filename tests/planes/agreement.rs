//! `check` and `serve` agree: what one refuses the other refuses, with the same problems at the same places.

use std::path::Path;

use super::support::process::{Finished, Process, portcullis};
use super::support::product::Serve;
use super::support::scratch::Scratch;

/// A config that is served. Each case changes one text of it.
const GOOD: &str = r#"version: 1
gateway:
  listeners:
    - address: "127.0.0.1:0"
      tls: {certificates: [{cert: good.crt, key: good.key}], client_ca: good.crt}
    - {address: "[::1]:0"}
  apis:
    tracking:
      hosts: ["events.example.com"]
      paths: ["/v1/*"]
      scope: "tracking_api:write"
      identify: [basic, body]
      upstream: events
      reauthenticate_status: 401
  upstreams:
    events: {servers: ["127.0.0.1:1"], health_check: {interval: 5s}, timeouts: {connect: 2s}}
    secure: {servers: ["127.0.0.1:1"], tls: {sni: "api.example.com", ca: good.crt}}
  limits: {body_timeout: 30s, headers: 100, body_bytes: 1MiB}
  trusted_proxies: ["192.0.2.0/24"]
policy: {source: file, file: policy.yaml, max_age: 1h}
issuers:
  - issuer: "https://login.example.com"
    jwks_file: keys.json
    algorithms: [ES256]
    audience: [events]
control_plane:
  listen: "127.0.0.1:0"
  public_url: "https://auth.example.com"
  store: "sqlite:portcullis.db"
  signing: {rotate_every: 30d}
observability: {listen: "127.0.0.1:0", access_log: {enabled: false}}
shutdown: {drain_timeout: 1s}
"#;

const POLICY: &str = r#"apps:
  - {id: app_1, workspace: ws_1, scopes: ["tracking_api:write"]}
sources:
  - {id: src_1, workspace: ws_1, write_key: wk_1, app: app_1, enforcement: "on"}
"#;

/// The x and y of RFC 7517 appendix A.1.
const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","kid":"1"}]}"#;

/// What to replace, by what, and the words of the problem.
const REFUSED: [(&str, &str, &str); 79] = [
    // Structure.
    ("version: 1", "version: 2", "this build reads version 1"),
    ("version: 1", "version: one", "expected a whole number"),
    ("version: 1\n", "", "the key `version` is missing"),
    ("gateway:", "gatway:", "did you mean `gateway`?"),
    (
        "    tracking:\n",
        "    tracking: 5\n    other:\n",
        "expected a section",
    ),
    (
        "hosts: [\"events.example.com\"]",
        "hosts: events.example.com",
        "expected a list",
    ),
    (
        "hosts: [\"events.example.com\"]",
        "hosts: [[a]]",
        "expected one value",
    ),
    (
        "      scope: \"tracking_api:write\"\n",
        "",
        "lacks the key `scope`",
    ),
    (
        "identify: [basic, body]\n",
        "identify: [basic, body]\n      identify: [basic]\n",
        "is repeated",
    ),
    ("enabled: false", "enabled: no way", "expected `true` or `false`"),
    (
        "body_timeout: 30s",
        "body_timeout: 30",
        "expected a duration with its unit",
    ),
    (
        "body_bytes: 1MiB",
        "body_bytes: 1MB",
        "expected a size with its unit",
    ),
    ("headers: 100", "headers: -1", "expected a number in range"),
    ("headers: 100", "headers: 1.5", "expected a whole number"),
    // Addresses.
    ("\"[::1]:0\"", "\"http://127.0.0.1:8080\"", "is not an address"),
    ("\"[::1]:0\"", "\"*:8080\"", "is not an address"),
    ("\"[::1]:0\"", "\"300.1.1.1:80\"", "is not an address"),
    ("\"[::1]:0\"", "\":8080\"", "is not an address"),
    ("\"[::1]:0\"", "\"127.0.0.1:65536\"", "is not an address"),
    ("\"[::1]:0\"", "\"127.0.0.1\"", "is not an address"),
    ("\"[::1]:0\"", "\"::1:80\"", "is not an address"),
    (
        "\"[::1]:0\"}",
        "\"127.0.0.1:65001\"}\n    - {address: \"127.0.0.1:65001\"}",
        "is taken by the listener",
    ),
    (
        "\"[::1]:0\"}",
        "\"0.0.0.0:65001\"}\n    - {address: \"127.0.0.1:65001\"}",
        "is taken by the listener",
    ),
    (
        "servers: [\"127.0.0.1:1\"], health",
        "servers: [\"http://127.0.0.1:1\"], health",
        "is not an address",
    ),
    (
        "servers: [\"127.0.0.1:1\"], health",
        "servers: [\"127.0.0.1:0\"], health",
        "has port 0",
    ),
    (
        "servers: [\"127.0.0.1:1\"], health",
        "servers: [], health",
        "the upstream has no server",
    ),
    ("192.0.2.0/24", "192.0.2.0/33", "write an address or a network"),
    // References and values that can never match.
    ("upstream: events", "upstream: event", "did you mean `events`?"),
    ("hosts: [\"events.example.com\"]", "hosts: []", "no host is named"),
    (
        "hosts: [\"events.example.com\"]",
        "hosts: [\"https://events.example.com\"]",
        "is not a host name",
    ),
    (
        "hosts: [\"events.example.com\"]",
        "hosts: [\"events.example.com:8080\"]",
        "is not a host name",
    ),
    ("paths: [\"/v1/*\"]", "paths: []", "no path is named"),
    ("paths: [\"/v1/*\"]", "paths: [\"v1/*\"]", "is not a path"),
    (
        "scope: \"tracking_api:write\"",
        "scope: \"\"",
        "no scope is named",
    ),
    (
        "identify: [basic, body]",
        "identify: []",
        "something must identify",
    ),
    (
        "identify: [basic, body]",
        "identify: [cookie]",
        "is not a place that can name a source",
    ),
    (
        "reauthenticate_status: 401",
        "reauthenticate_status: 403",
        "neither 401 nor 511",
    ),
    (
        "reauthenticate_status: 401",
        "unknown_sources: deni",
        "did you mean `deny`?",
    ),
    ("sni: \"api.example.com\"", "sni: \"\"", "is not a host name"),
    (
        "algorithms: [ES256]",
        "algorithms: []",
        "no signature algorithm is listed",
    ),
    (
        "algorithms: [ES256]",
        "algorithms: [HS256]",
        "is not a supported signature algorithm",
    ),
    ("audience: [events]", "audience: []", "no audience is named"),
    (
        "audience: [events]",
        "audience: [\"${PORTCULLIS_TEST_UNSET}\"]",
        "has no variable",
    ),
    (
        "audience: [events]",
        "audience: [events]\n    typ: []",
        "no `typ` is listed",
    ),
    (
        "issuer: \"https://login.example.com\"",
        "issuer: \" https://login.example.com\"",
        "a space around it",
    ),
    (
        "policy: {source: file, file: policy.yaml, max_age: 1h}",
        "policy: {source: file}",
        "needs a file",
    ),
    (
        "policy: {source: file, file: policy.yaml, max_age: 1h}",
        "policy: {source: remot}",
        "is not a choice here",
    ),
    // Edges and their control plane.
    (
        "source: file, file: policy.yaml, max_age: 1h",
        "source: remote, control_planes: [\"https://127.0.0.1:1\"]",
        "needs a folder",
    ),
    (
        "source: file, file: policy.yaml, max_age: 1h",
        "source: remote, state: edge, join: pcj_a",
        "needs the URL of",
    ),
    (
        "source: file, file: policy.yaml, max_age: 1h",
        "source: remote, state: edge, join: pcj_a, control_planes: [\"http://192.0.2.1:1\"]",
        "is not the base URL of an edge listener",
    ),
    (
        "source: file, file: policy.yaml, max_age: 1h",
        "source: remote, state: edge, control_planes: [\"https://127.0.0.1:1\"]",
        "has not joined a fleet",
    ),
    ("max_age: 1h", "state: edge", "belongs to `source: remote`"),
    (
        "signing: {rotate_every: 30d}",
        "edges: {listen: \"0.0.0.0:0\"}",
        "in the clear",
    ),
    (
        "signing: {rotate_every: 30d}",
        "edges: {listen: \"127.0.0.1:0\", heartbeat: 2m}",
        "out of range",
    ),
    (
        "signing: {rotate_every: 30d}",
        "edges: {listen: \"127.0.0.1:0\", tls: {certificates: [{cert: good.crt, key: other.key}]}}",
        "does not belong to the certificate",
    ),
    // Ranges.
    ("headers: 100", "headers: 0", "out of range"),
    ("headers: 100", "headers: 251", "out of range"),
    ("body_bytes: 1MiB", "body_bytes: 999GiB", "out of range"),
    ("headers: 100", "connections: 0", "out of range"),
    ("body_timeout: 30s", "body_timeout: 0s", "out of range"),
    ("interval: 5s", "interval: 1ms", "out of range"),
    ("drain_timeout: 1s", "drain_timeout: 7d", "out of range"),
    ("max_age: 1h", "max_age: 0s", "out of range"),
    ("max_age: 1h", "max_age: 2s", "out of range"),
    ("rotate_every: 30d", "rotate_every: 1m", "too short a time"),
    // What a config names.
    ("cert: good.crt", "cert: nothing.crt", "nothing.crt"),
    ("key: good.key", "key: good.crt", "a private key"),
    (
        "key: good.key",
        "key: other.key",
        "does not belong to the certificate",
    ),
    ("client_ca: good.crt", "client_ca: good.key", "client CA file"),
    ("client_ca: good.crt", "client_ca: nothing.crt", "nothing.crt"),
    (
        "ca: good.crt}}",
        "ca: good.key}}",
        "is not a PEM file with certificates",
    ),
    ("jwks_file: keys.json", "jwks_file: nothing.json", "nothing.json"),
    ("jwks_file: keys.json", "jwks_file: good.crt", "not a JWK set"),
    ("file: policy.yaml", "file: nothing.yaml", "nothing.yaml"),
    (
        "public_url: \"https://auth.example.com\"",
        "public_url: \"auth.example.com\"",
        "cannot be an issuer",
    ),
    (
        "store: \"sqlite:portcullis.db\"",
        "store: \"mysql:portcullis\"",
        "is not a store",
    ),
    (
        "signing: {rotate_every: 30d}",
        "login: {passwords: \"off\"}",
        "needs `login.oidc`",
    ),
    (
        "signing: {rotate_every: 30d}",
        "tls: {certificates: [{cert: good.crt, key: other.key}]}",
        "does not belong to the certificate",
    ),
    (
        "observability: {listen: \"127.0.0.1:0\", ",
        "observability: {tls: {certificates: [{cert: good.crt, key: good.key}]}, ",
        "needs `observability.listen`",
    ),
];

/// Changes of the policy file that are refused.
const POLICIES: [(&str, &str, &str); 6] = [
    ("app: app_1", "app: app_2", "did you mean `app_1`?"),
    ("write_key: wk_1", "write_ky: wk_1", "did you mean `write_key`?"),
    (
        "enforcement: \"on\"",
        "enforcement: \"always\"",
        "is not an enforcement mode",
    ),
    (
        "{id: app_1, workspace: ws_1",
        "{id: app_1, workspace: ws_2",
        "another workspace",
    ),
    (
        "write_key: wk_1",
        "write_key: \"${PORTCULLIS_TEST_UNSET}\"",
        "has no variable",
    ),
    (
        "sources:\n",
        "sources:\n  - {id: src_1, workspace: ws_1, write_key: wk_2, enforcement: \"off\"}\n",
        "is repeated",
    ),
];

/// Changes with which it is served all the same.
const ACCEPTED: [(&str, &str); 8] = [
    ("", ""),
    ("hosts: [\"events.example.com\"]", "hosts: [\"*\"]"),
    ("algorithms: [ES256]", "algorithms: [ES256, RS256]"),
    ("reauthenticate_status: 401", "unknown_sources: forward"),
    ("max_age: 1h", "max_age: 1h, when_stale: allow"),
    (
        "audience: [events]",
        "audience: [events]\n    typ: [\"*\", \"${PATH}\"]",
    ),
    (
        "cert: good.crt, key: good.key",
        "cert: expired.crt, key: expired.key",
    ),
    ("body_timeout: 30s", "body_timeout: 10ms"),
];

fn folder() -> Scratch {
    let dir = Scratch::new();
    let pair = |names: &str, params: rcgen::CertificateParams| {
        let key = rcgen::KeyPair::generate().unwrap();
        dir.write(&format!("{names}.crt"), &params.self_signed(&key).unwrap().pem());
        dir.write(&format!("{names}.key"), &key.serialize_pem());
    };
    let params = || rcgen::CertificateParams::new(vec!["events.example.com".to_owned()]).unwrap();
    pair("good", params());
    pair("other", params());
    let mut expired = params();
    expired.not_before = rcgen::date_time_ymd(2020, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2020, 2, 1);
    pair("expired", expired);
    dir.write("policy.yaml", POLICY);
    dir.write("keys.json", KEYS);
    dir
}

fn changed(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

/// The lines of errors, and what the command says.
fn errors<const N: usize>(words: [&str; N], config: &Path) -> (Option<i32>, Vec<String>, String) {
    let Finished { code, stdout, stderr } = Process::run(portcullis(words).arg(config));
    let lines = stderr.lines().filter(|line| line.contains(": error: "));
    (code, lines.map(str::to_owned).collect(), stdout + &stderr)
}

fn assert_both_refuse(config: &Path, words: &str) {
    let (code, checked, said) = errors(["check"], config);
    assert_eq!(code, Some(1), "{words}: {said}");
    assert!(said.contains(words), "{words}: {said}");
    assert!(!checked.is_empty(), "{words}: {said}");
    let (code, served, said) = errors(["serve", "--config"], config);
    assert_eq!(code, Some(1), "{words}: {said}");
    assert_eq!(checked, served, "{words}");
}

#[test]
fn check_and_serve_refuse_the_same_configs() {
    let dir = folder();
    for (from, to, words) in REFUSED {
        let config = dir.write("portcullis.yaml", &changed(GOOD, from, to));
        assert_both_refuse(&config, words);
    }
    let config = dir.write("portcullis.yaml", GOOD);
    for (from, to, words) in POLICIES {
        dir.write("policy.yaml", &changed(POLICY, from, to));
        assert_both_refuse(&config, words);
    }
}

#[test]
fn check_and_serve_accept_the_same_configs() {
    let dir = folder();
    for (from, to) in ACCEPTED {
        let config = dir.write("portcullis.yaml", &changed(GOOD, from, to));
        let (code, _, said) = errors(["check"], &config);
        assert_eq!(code, Some(0), "{to}: {said}");
        Serve::start(&config).stop();
    }
}

#[test]
fn four_structural_mistakes_are_reported_at_once() {
    let dir = folder();
    let mut text = GOOD.to_owned();
    for (from, to) in [
        ("paths:", "path:"),
        (
            "servers: [\"127.0.0.1:1\"], health",
            "server: [\"127.0.0.1:1\"], health",
        ),
        ("headers: 100", "headers: many"),
        (
            "listen: \"127.0.0.1:0\"\n  public",
            "lisen: \"127.0.0.1:0\"\n  public",
        ),
    ] {
        text = changed(&text, from, to);
    }
    let (_, found, said) = errors(["check"], &dir.write("portcullis.yaml", &text));
    for words in [
        "`path`",
        "`server`",
        "expected a whole number, found a text",
        "`lisen`",
    ] {
        assert!(found.iter().any(|line| line.contains(words)), "{words}: {said}");
    }
    assert!(said.contains("did you mean `servers`?"), "{said}");
    assert!(
        !said.contains("unknown upstream"),
        "a problem that follows from another: {said}"
    );
}

#[test]
fn check_writes_json_and_warnings_with_codes() {
    let dir = folder();
    let text = changed(GOOD, "\"[::1]:0\"", "\"0.0.0.0:0\"");
    let config = dir.write(
        "portcullis.yaml",
        &changed(&text, "max_age: 1h", "when_stale: allow"),
    );
    let done = Process::run(portcullis(["check", "--output", "json"]).arg(&config));
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    let report: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(report["ok"], true);
    let codes: Vec<&str> = report["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["W005", "W001", "W006", "W003", "W010"]);
    assert_eq!(report["problems"][1]["line"], 6);
    let strict = Process::run(portcullis(["check", "--strict"]).arg(&config));
    assert_eq!(strict.code, Some(1));
    assert!(
        strict.stderr.contains("portcullis.yaml:6:17: warning[W001]: "),
        "{}",
        strict.stderr
    );
}

#[test]
fn proxies_that_are_everywhere_are_warned_of() {
    let dir = folder();
    for (network, warns) in [
        ("0.0.0.0/0", true),
        ("::/1", true),
        ("10.0.0.0/8", false),
        ("fc00::/7", false),
    ] {
        let proxies = format!("  trusted_proxies: [\"{network}\"]");
        let config = dir.write(
            "portcullis.yaml",
            &changed(GOOD, "  trusted_proxies: [\"192.0.2.0/24\"]", &proxies),
        );
        let done = Process::run(portcullis(["check"]).arg(&config));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let output = done.stdout + &done.stderr;
        assert_eq!(output.contains("warning[W015]: "), warns, "{network}: {output}");
    }
}

#[test]
fn policy_file_is_checked_alone() {
    let dir = folder();
    let policy = dir.join("policy.yaml");
    let (code, _, said) = errors(["check"], &policy);
    assert_eq!(code, Some(0), "{said}");
    dir.write("policy.yaml", &changed(POLICY, "app: app_1", "app: app_2"));
    let (code, found, said) = errors(["check"], &policy);
    assert_eq!((code, found.len()), (Some(1), 1), "{said}");
}
