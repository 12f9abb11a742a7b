//! `check --online` fetches the key sets of a config, and says what they hold.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};

use super::support::process::{Process, portcullis};
use super::support::scratch::Scratch;

/// The x and y of RFC 7517 appendix A.1.
fn good_key(kid: &str) -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "kid": kid,
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    })
}

/// A server that answers each path with a document, until the process ends.
fn serve(documents: impl Fn(SocketAddr, &str) -> Option<Value> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let (status, body) = match documents(address, &path) {
                Some(document) => ("200 OK", document.to_string()),
                None => ("404 Not Found", String::new()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    address
}

const GATEWAY: &str = r#"version: 1
gateway:
  listeners: [{address: "127.0.0.1:0"}]
  apis:
    tracking: {hosts: ["*"], paths: ["/v1/*"], scope: "tracking_api:write", identify: [basic, body], upstream: events}
  upstreams:
    events: {servers: ["127.0.0.1:1"]}
policy: {source: file, file: policy.yaml}
issuers:
"#;

fn config(dir: &Scratch, issuers: &[String]) -> std::path::PathBuf {
    dir.write("policy.yaml", "apps: []\nsources: []\n");
    let issuers: String = issuers
        .iter()
        .map(|issuer| format!("  - {{{issuer}, algorithms: [ES256, RS256], audience: [events]}}\n"))
        .collect();
    dir.write("portcullis.yaml", &format!("{GATEWAY}{issuers}"))
}

fn check(config: &std::path::Path, args: &[&str]) -> super::support::process::Finished {
    let mut command = portcullis(["check"]);
    Process::run(command.arg(config).args(args))
}

#[test]
fn check_online_names_keys_and_those_left_out() {
    let address = serve(|_, path| {
        let encryption = json!({"kty": "EC", "crv": "P-256", "kid": "enc", "use": "enc"});
        (path == "/keys").then(|| json!({"keys": [good_key("one"), encryption, good_key("two")]}))
    });
    let dir = Scratch::new();
    let issuer = format!("issuer: \"https://login.example.com\", jwks_uri: \"http://{address}/keys\"");
    let config = config(&dir, &[issuer]);
    let done = check(&config, &["--online"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let line = format!("https://login.example.com: keys from http://{address}/keys: 2 ES256\n");
    assert!(done.stdout.contains(&line), "{}", done.stdout);
    let left_out = "https://login.example.com: key 2 `enc` left out: ";
    assert!(done.stdout.contains(left_out), "{}", done.stdout);
    // Without the flag nothing is fetched.
    let offline = check(&config, &[]);
    assert!(!offline.stdout.contains("keys from"), "{}", offline.stdout);
}

#[test]
fn check_online_warns_of_key_sets_it_cannot_use() {
    let address = serve(|address, path| match path {
        "/empty" => Some(json!({"keys": []})),
        "/.well-known/openid-configuration" => Some(json!({
            "issuer": "https://else.example.com", "jwks_uri": format!("http://{address}/empty"),
        })),
        _ => None,
    });
    let dir = Scratch::new();
    let issuers = [
        format!("issuer: \"http://{address}\", discovery: true"),
        format!("issuer: \"https://a.example.com\", jwks_uri: \"http://{address}/empty\""),
        format!("issuer: \"https://b.example.com\", jwks_uri: \"http://{address}/nowhere\""),
        "issuer: \"https://c.example.com\", jwks_uri: \"http://127.0.0.1:1/keys\"".to_owned(),
    ];
    let config = config(&dir, &issuers);
    let done = check(&config, &["--online"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for (line, words) in [
        (10, "its `issuer` is not the configured one"),
        (11, "no usable key"),
        (12, "404"),
        (13, "Connection refused"),
    ] {
        let place = format!("portcullis.yaml:{line}:");
        let found = done
            .stderr
            .lines()
            .any(|text| text.contains(&place) && text.contains("warning[W014]: ") && text.contains(words));
        assert!(found, "{place} {words}: {}", done.stderr);
    }
    let strict = check(&config, &["--online", "--strict", "--output", "json"]);
    assert_eq!(strict.code, Some(1));
    let report: Value = serde_json::from_str(&strict.stdout).unwrap();
    assert_eq!(report["problems"].as_array().unwrap().len(), 4, "{report}");
    assert_eq!(report["problems"][0]["code"], "W014");
}
