//! As shipped, no path opens an enforced source: quickstart and the example config, by the write key alone.

use std::fs;
use std::net::TcpStream;
use std::path::Path;

use super::support::process::{Process, portcullis};
use super::support::product::{Env, Quickstart, Serve, project_file, quickstart_data, served_env};
use super::support::recorder::Recorder;
use super::support::web::{Answer, Request, post};

/// Where libraries of the family send events when nothing, or a host with a path, is configured.
const PATHS: [&str; 10] = [
    "/sdk/batch",
    "/beacon/v1/batch",
    "/api/s/track",
    "/v2/batch",
    "/prefix/v1/batch",
    "/v1",
    "/v1/",
    "/V1/batch",
    "/v1/batch",
    "/",
];

/// The key in each place where those libraries put it.
fn requests(url: &str, host: &str, path: &str, key: &str) -> Vec<Request> {
    use base64::Engine as _;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{key}:"));
    let event = r#"{"event":"e","userId":"u"}"#;
    let with_key = format!(r#"{{"batch":[{{"type":"track","event":"e"}}],"writeKey":"{key}"}}"#);
    let to = |query: &str| post(&format!("{url}{path}{query}")).host(host);
    let json = "application/json";
    vec![
        to("")
            .header("Authorization", &format!("Basic {basic}"))
            .body(json, event.as_bytes()),
        to(&format!("?writeKey={key}")).body("text/plain", event.as_bytes()),
        to("").header("X-Write-Key", key).body(json, event.as_bytes()),
        to("").body(json, with_key.as_bytes()),
    ]
}

/// Expects a refusal of the key on every path of each host.
fn assert_refused(url: &str, hosts: &[&str], key: &str) {
    for host in hosts {
        for path in PATHS {
            for (place, request) in requests(url, host, path, key).into_iter().enumerate() {
                let answer: Answer = request.send();
                let status = answer.status();
                assert!(
                    (400..500).contains(&status),
                    "{host}{path} (place {place}): {status}"
                );
            }
        }
    }
}

#[test]
fn quickstart_forwards_no_enforced_event_without_token() {
    let data = quickstart_data();
    let quickstart = Quickstart::start(data.path());
    let env: &Env = &quickstart.env;
    let (gateway, public) = (env.get("GATEWAY_URL"), env.get("PUBLIC_API_URL"));
    let port = gateway.rsplit(':').next().unwrap();
    assert_eq!(public, format!("http://localhost:{port}"));
    let hosts = [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("other.test:{port}"),
    ];
    assert_refused(
        gateway,
        &hosts.each_ref().map(String::as_str),
        env.get("WRITE_KEY"),
    );
    assert_eq!(
        fs::read_to_string(env.get("UPSTREAM_LOG")).unwrap_or_default(),
        ""
    );
    // The hosts are the right ones: with a token each takes what is its own.
    let token = env.token("", "tracking_api:write");
    assert_eq!(env.event("WRITE_KEY").bearer(&token).send().status(), 200);
    let workspace = super::support::web::get(&format!("{public}/"));
    assert_eq!(workspace.send().status(), 200, "`GET /` is the Public API's");
    quickstart.stop();
}

/// The example config on free ports, on the store of a quickstart, before a recording upstream.
fn example(dir: &Path, upstream: &Recorder) -> String {
    let mut text = fs::read_to_string(project_file("config/portcullis.yaml")).unwrap();
    let server = upstream.address.to_string();
    for (from, to) in [
        ("127.0.0.1:8080", "127.0.0.1:0"),
        ("127.0.0.1:8081", "127.0.0.1:0"),
        ("127.0.0.1:9090", "127.0.0.1:0"),
        (
            "servers: [\"127.0.0.1:8090\"]",
            &format!("servers: [\"{server}\"]"),
        ),
        // Another name for the same machine, so that both upstreams are this one.
        (
            "servers: [\"127.0.0.1:8091\"]",
            &format!("servers: [\"localhost:{}\"]", upstream.address.port()),
        ),
        (
            "sqlite:data/portcullis.db",
            &format!("sqlite:{}/portcullis.db", dir.display()),
        ),
        (
            "# key_encryption_key: \"${PORTCULLIS_KEY_ENCRYPTION_KEY}\"",
            "key_encryption_key: \"file:signing-encryption.key\"",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    text
}

#[test]
fn example_config_forwards_no_enforced_event_without_token() {
    let dir = quickstart_data();
    let upstream = Recorder::start();
    let text = example(dir.path(), &upstream);
    let serve = Serve::start(&dir.write("portcullis.yaml", &text));
    let env = served_env(dir.path(), &serve);
    let gateway = env.get("GATEWAY_URL");
    // The health check connects and sends nothing.
    let hosts = [
        "127.0.0.1",
        "localhost",
        "events.test",
        "api.example.com",
        "API.example.com:8080",
    ];
    assert_refused(gateway, &hosts, env.get("WRITE_KEY"));
    assert_eq!(upstream.requests().len(), 0);
    let token = env.token("", "tracking_api:write");
    assert_eq!(env.event("WRITE_KEY").bearer(&token).send().status(), 200);
    let public = Request::to("GET", &format!("{gateway}/")).host("api.example.com");
    assert_eq!(public.send().status(), 200);
    serve.stop();
}

#[test]
fn example_configs_commented_apis_take_their_sdks_events() {
    let dir = quickstart_data();
    let upstream = Recorder::start();
    let mut text = example(dir.path(), &upstream);
    for name in ["june:", "rudderstack:", "jitsu:"] {
        let commented = format!("    # {name}");
        assert!(text.contains(&commented), "{name}");
        text = text.replacen(&commented, &format!("    {name}"), 1);
    }
    let config = dir.write("portcullis.yaml", &text);
    let checked = Process::run(portcullis(["check"]).arg(&config));
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let serve = Serve::start(&config);
    let env = served_env(dir.path(), &serve);
    let gateway = env.get("GATEWAY_URL");
    let send = |key: &str| {
        let (enforced, open) = (env.get(key), "127.0.0.1");
        let [june, _, _, _] = requests(gateway, open, "/sdk/batch", enforced)
            .try_into()
            .ok()
            .unwrap();
        let [_, beacon, _, _] = requests(gateway, open, "/beacon/v1/batch", enforced)
            .try_into()
            .ok()
            .unwrap();
        let [_, _, jitsu, _] = requests(gateway, open, "/api/s/track", enforced)
            .try_into()
            .ok()
            .unwrap();
        [june, beacon, jitsu].map(|request: Request| request.send().status())
    };
    assert_eq!(send("WRITE_KEY"), [401; 3]);
    assert_eq!(upstream.requests().len(), 0);
    assert_eq!(send("UNENFORCED_WRITE_KEY"), [200; 3]);
    serve.stop();
}

#[test]
fn listener_on_all_addresses_takes_events_under_any_host() {
    let data = quickstart_data();
    let ports = ["0.0.0.0:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"];
    let quickstart = Quickstart::start_with(data.path(), &ports, &[], &[]);
    let env = &quickstart.env;
    let port = env.get("GATEWAY_URL").rsplit(':').next().unwrap().to_owned();
    assert!(TcpStream::connect(format!("127.0.0.1:{port}")).is_ok());
    let url = format!("http://127.0.0.1:{port}");
    assert_refused(&url, &["gateway.test", "localhost"], env.get("WRITE_KEY"));
    assert_eq!(
        fs::read_to_string(env.get("UPSTREAM_LOG")).unwrap_or_default(),
        ""
    );
    let body = format!(
        r#"{{"event":"e","userId":"u","writeKey":"{}"}}"#,
        env.get("UNENFORCED_WRITE_KEY")
    );
    for host in ["gateway.test", "localhost"] {
        let event = post(&format!("{url}/v1/track")).host(host);
        assert_eq!(
            event.body("application/json", body.as_bytes()).send().status(),
            200
        );
    }
    quickstart.stop();
}
