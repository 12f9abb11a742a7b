//! `check` and `serve` agree on every config: mutations of the example configs go through both entry points, up to the
//! first socket. What one takes the other takes.
//!
//! 500 mutations, or as many as `AGREEMENT_CASES` says. `FUZZ_SEED` repeats a run.

use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};

use portcullis::cli::entry_points;

use crate::{number, root};

/// Mutations without `AGREEMENT_CASES`.
const CASES: u64 = 500;

/// A config with a gateway, a control plane, outside issuers, TLS and a policy file.
const WHOLE: &str = r#"version: 1
gateway:
  listeners:
    - address: "127.0.0.1:0"
      tls: {certificates: [{cert: good.crt, key: good.key}], client_ca: good.crt}
    - {address: "[::1]:0", proxy_protocol: require}
  apis:
    tracking:
      hosts: ["events.example.com"]
      paths: ["/v1/*", {path: "/v2", methods: [POST]}]
      scope: "tracking_api:write"
      identify: [basic, body, pixel]
      upstream: events
      unknown_sources: deny
      reauthenticate_status: 401
      cors: {origins: ["https://shop.example.com"], credentials: true, max_age: 10m}
    functions: {hosts: ["fn.example.com"], paths: ["/"], scope: "functions:write", identify: ["query:b", "header:X-Token"], upstream: events}
    public: {hosts: ["api.example.com"], paths: ["/*"], scope: "public_api:read_write", identify: [token], without_token: forward, upstream: secure}
  upstreams:
    events: {servers: ["127.0.0.1:1", "127.0.0.1:2"], health_check: {interval: 5s, path: "/healthz"}, timeouts: {connect: 2s}}
    secure: {servers: ["127.0.0.1:1"], http2: true, tls: {sni: "api.example.com", ca: good.crt}}
  limits: {body_timeout: 30s, headers: 100, body_bytes: 1MiB, header_bytes: 32KiB, connections: 1000, connections_per_client: 100}
  trusted_proxies: ["192.0.2.0/24"]
  public_url: "https://events.example.com"
policy: {source: file, file: policy.yaml, max_age: 1h, when_stale: deny}
issuers:
  - {issuer: "https://login.example.com", jwks_file: keys.json, algorithms: [ES256], audience: [events], leeway: 5s}
  - {issuer: "https://tenant.example.com/", profile: auth0, jwks_uri: "https://tenant.example.com/keys", ca: good.crt, audience: [events]}
control_plane:
  listen: "127.0.0.1:0"
  public_url: "https://auth.example.com"
  store: "sqlite:portcullis.db"
  signing: {rotate_every: 30d, publish_ahead: 10m}
observability: {listen: "127.0.0.1:0", access_log: {enabled: false}}
shutdown: {drain_timeout: 1s, idle_grace: 1s}
upgrade: {socket: "portcullis.sock"}
admin: {socket: "admin.sock"}
"#;

const POLICY: &str = "apps:\n  - {id: app_1, workspace: ws_1, issuer: \"https://login.example.com\", scopes: [\"tracking_api:write\"]}\nsources: []\n";

/// The x and y of RFC 7517 appendix A.1.
const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","kid":"1"}]}"#;

/// Values that are at some edge, or of another type.
const VALUES: [&str; 26] = [
    "0",
    "1",
    "-1",
    "65536",
    "18446744073709551616",
    "1.5",
    "true",
    "null",
    "\"\"",
    "[]",
    "{}",
    "0s",
    "1ms",
    "24h",
    "999d",
    "0KiB",
    "1GiB",
    "999GiB",
    "\"*\"",
    "\"/\"",
    "\"127.0.0.1:65001\"",
    "\"https://a.example.com\"",
    "${NOT_SET}",
    "good.crt",
    "file",
    "RS256",
];

/// Numbers that follow from a seed (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound.max(1) as u64).unwrap()
    }
}

/// Where values begin and end in a text: words between the characters that separate them.
fn words(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut begin = None;
    for (at, letter) in text.char_indices() {
        let separates = matches!(letter, ' ' | '\n' | ',' | '[' | ']' | '{' | '}');
        match (separates, begin) {
            (false, None) => begin = Some(at),
            (true, Some(from)) => {
                found.push((from, at));
                begin = None;
            }
            _ => {}
        }
    }
    found
}

/// One change of a text, of the kinds that people make.
fn mutate(text: &str, random: &mut Random) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = random.below(lines.len());
    match random.below(9) {
        0 => {
            lines.remove(at);
        }
        1 => lines.insert(at, lines[at].clone()),
        2 => {
            let other = random.below(lines.len());
            lines.swap(at, other);
        }
        // A line of comment becomes a line of config.
        3 | 4 => {
            let comments: Vec<usize> = (0..lines.len())
                .filter(|at| lines[*at].trim_start().starts_with("# "))
                .collect();
            let at = comments.get(random.below(comments.len())).copied().unwrap_or(at);
            lines[at] = lines[at].replacen("# ", "", 1);
        }
        5 => lines[at] = format!("  {}", lines[at]),
        6 => lines[at] = lines[at].strip_prefix("  ").unwrap_or(&lines[at]).to_owned(),
        // A value becomes another one: of the text, or one at some edge.
        _ => {
            let places = words(text);
            let (from, to) = places[random.below(places.len())];
            let (other_from, other_to) = places[random.below(places.len())];
            let new = match random.below(2) {
                0 => VALUES[random.below(VALUES.len())],
                _ => &text[other_from..other_to],
            };
            return format!("{}{new}{}", &text[..from], &text[to..]);
        }
    }
    lines.join("\n") + "\n"
}

/// A folder with the files that the configs name.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("agreement-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["events.example.com".to_owned()]).unwrap();
    for (name, text) in [
        ("good.crt", params.self_signed(&key).unwrap().pem()),
        ("good.key", key.serialize_pem()),
        ("policy.yaml", POLICY.to_owned()),
        ("keys.json", KEYS.to_owned()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    folder
}

#[test]
fn check_and_serve_agree_on_mutated_configs() {
    let folder = folder();
    let path = folder.join("portcullis.yaml");
    let example = std::fs::read_to_string(root().join("config/portcullis.yaml")).unwrap();
    let corpus = [WHOLE.to_owned(), example];
    for text in &corpus {
        entry_points::check(&path, text).unwrap_or_else(|error| panic!("{error}"));
        entry_points::serve(&path, text).unwrap_or_else(|error| panic!("{error}"));
    }
    let seed = number("FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one("agreement"));
    let mut random = Random(seed);
    let cases = number("AGREEMENT_CASES").unwrap_or(CASES);
    let (mut fine, mut refused) = (0_u64, 0_u64);
    for case in 0..cases {
        let mut text = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(2) {
            text = mutate(&text, &mut random);
        }
        let (check, serve) = (
            entry_points::check(&path, &text),
            entry_points::serve(&path, &text),
        );
        match (&check, &serve) {
            (Ok(()), Ok(())) => fine += 1,
            (Err(_), Err(_)) => refused += 1,
            _ => {
                let find = root().join("target/fuzz-find-agreement");
                std::fs::write(&find, &text).unwrap();
                panic!(
                    "case {case} of FUZZ_SEED={seed}, kept in {}: check {check:?}, serve {serve:?}",
                    find.display()
                );
            }
        }
    }
    println!("FUZZ_SEED={seed}: {fine} configs fine, {refused} refused, by both");
    let _ = std::fs::remove_dir_all(&folder);
    // Neither all good nor all broken.
    assert!(
        fine * 20 > cases && refused * 20 > cases,
        "{fine} fine, {refused} refused"
    );
}
