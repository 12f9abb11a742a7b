//! The HTTP client: its user agent, the certificates that it trusts, its proxy, where redirects and discovery
//! may lead.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use portcullis::config::{Authorities, KeyPlace, OutsideIssuer};
use portcullis::gateway::link::jwks::fetch_once;
use portcullis::http_client::{Bounds, FetchError, HttpClient, Proxies, Reach, Trust};
use portcullis::pem_file;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::certs::Authority;
use crate::certs::use_one_provider;
use crate::forge;
use crate::gateway::{ENFORCED, FORGE, Http, Setup};
use crate::key_server::{KeyServer, issuer_at, uri};
use crate::upstream::{Received, Reply, StubUpstream};

const BOUNDS: Bounds = Bounds {
    within: Duration::from_secs(10),
    bytes_max: 64 * 1024,
};

fn json_reply(body: &Value) -> Reply {
    let body = body.to_string();
    Reply::text(&format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn key_set() -> Reply {
    json_reply(&json!({ "keys": [FORGE.jwk()] }))
}

fn not_found() -> Reply {
    Reply::text("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
}

fn redirect_to(location: &str) -> Reply {
    Reply::text(&format!(
        "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    ))
}

fn ca_of(authority: &Authority) -> Option<Authorities> {
    let file = authority.file();
    Some(Authorities {
        file,
        digest: [0; 32],
    })
}

fn trust_in(authority: &Authority) -> Trust {
    let pem = std::fs::read(authority.file()).unwrap();
    Trust::Authorities(Arc::new(pem_file::authorities(&pem).unwrap()))
}

/// An issuer at `address` over TLS, whose keys are at /jwks.json.
fn issuer_over_tls(address: SocketAddr, ca: Option<Authorities>) -> OutsideIssuer {
    let mut issuer = issuer_at(address, "https://outside.test");
    let held = uri(&mut issuer);
    held.place = KeyPlace::Uri(format!("https://{address}/jwks.json").parse().unwrap());
    held.ca = ca;
    issuer
}

#[tokio::test]
async fn key_set_request_names_this_program() {
    let keys = StubUpstream::answering(|_| key_set());
    fetch_once(&issuer_at(keys.address(), "https://outside.test"))
        .await
        .unwrap();
    let seen = keys.only();
    let agent = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
    assert_eq!(seen.one("User-Agent"), agent);
    assert_eq!(seen.one("Accept"), "application/jwk-set+json, application/json");
}

#[tokio::test]
async fn private_authority_is_trusted_through_ca_alone() {
    use_one_provider();
    let authority = Authority::new();
    let keys = StubUpstream::tls(authority.issue("127.0.0.1").acceptor(), |_| key_set());
    let found = fetch_once(&issuer_over_tls(keys.address(), ca_of(&authority))).await;
    assert_eq!(found.unwrap().unwrap().keys.len(), 1);
    let error = fetch_once(&issuer_over_tls(keys.address(), None))
        .await
        .unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("UnknownIssuer") && error.contains("`ca`"),
        "{error}"
    );
    let other = Authority::new();
    let another = issuer_over_tls(keys.address(), ca_of(&other));
    let error = fetch_once(&another).await.unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
}

#[tokio::test]
async fn gateway_fetches_keys_from_a_private_authority() {
    let authority = Authority::new();
    let keys = StubUpstream::tls(authority.issue("127.0.0.1").acceptor(), |_| key_set());
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.issuers = vec![issuer_over_tls(keys.address(), ca_of(&authority))];
    let mut snapshot = crate::gateway::snapshot();
    snapshot.apps.truncate(1);
    snapshot.sources.truncate(1);
    snapshot.apps[ENFORCED].issuer = "https://outside.test".to_owned();
    snapshot.apps[ENFORCED].keys = None;
    setup.snapshot = Some(snapshot);
    let gateway = setup.start().await;
    let mut claims = forge::claims(ENFORCED, "token-1");
    claims["iss"] = json!("https://outside.test");
    let token = FORGE.sign(&forge::header(), &claims);
    gateway
        .send(&Http::batch(ENFORCED).bearer(&token))
        .await
        .assert_ok();
}

#[tokio::test]
async fn redirects_are_followed_within_one_origin() {
    let elsewhere = StubUpstream::answering(|_| key_set());
    let other = format!("http://{}/jwks.json", elsewhere.address());
    let keys = StubUpstream::answering(move |seen| match seen.target.as_str() {
        "/jwks.json" => redirect_to("/keys/v2"),
        "/keys/v2" => redirect_to("/keys/v3"),
        "/keys/v3" => key_set(),
        "/away" => redirect_to(&other),
        "/loop" => redirect_to("/loop"),
        _ => not_found(),
    });
    let fetch = async |path: &str| {
        let mut issuer = issuer_at(keys.address(), "https://outside.test");
        uri(&mut issuer).place = KeyPlace::Uri(format!("http://{}{path}", keys.address()).parse().unwrap());
        fetch_once(&issuer).await.map_err(|error| error.to_string())
    };
    assert_eq!(fetch("/jwks.json").await.unwrap().unwrap().keys.len(), 1);
    assert!(fetch("/away").await.unwrap_err().contains("another origin"));
    assert!(fetch("/loop").await.unwrap_err().contains("more than 3 times"));
    elsewhere.assert_untouched();
}

/// A server whose metadata document at `path` says this of its issuer and key set.
fn issuer_server(path: &'static str, says: impl Fn(&str) -> Value + Send + Sync + 'static) -> StubUpstream {
    StubUpstream::answering(move |seen: &Received| {
        let base = format!("http://{}", seen.one("Host"));
        match seen.target.as_str() {
            "/keys" => key_set(),
            target if target == path => json_reply(&says(&base)),
            _ => not_found(),
        }
    })
}

fn discovered(server: &StubUpstream, path: &str) -> OutsideIssuer {
    let name = format!("http://{}{path}", server.address());
    let mut issuer = issuer_at(server.address(), &name);
    uri(&mut issuer).place = KeyPlace::Discovery;
    issuer
}

#[tokio::test]
async fn discovery_finds_the_key_set() {
    for (path, document) in [
        ("", "/.well-known/openid-configuration"),
        ("/realms/one", "/realms/one/.well-known/openid-configuration"),
        ("", "/.well-known/oauth-authorization-server"),
        ("/one", "/.well-known/oauth-authorization-server/one"),
    ] {
        let server = issuer_server(
            document,
            move |base| json!({"issuer": format!("{base}{path}"), "jwks_uri": format!("{base}/keys")}),
        );
        let found = fetch_once(&discovered(&server, path)).await;
        let found = found
            .unwrap_or_else(|error| panic!("{document}: {error}"))
            .unwrap();
        assert_eq!(found.uri, format!("http://{}/keys", server.address()));
    }
}

#[tokio::test]
async fn discovery_refuses_metadata_of_another_issuer() {
    const PATH: &str = "/.well-known/openid-configuration";
    type Says = fn(&str) -> Value;
    let cases: [(Says, &str); 6] = [
        (
            |base| json!({"issuer": format!("{base}/"), "jwks_uri": format!("{base}/keys")}),
            "character for character",
        ),
        (
            |base| json!({"issuer": "https://evil.test", "jwks_uri": format!("{base}/keys")}),
            "character for character",
        ),
        (
            |base| json!({"jwks_uri": format!("{base}/keys")}),
            "character for character",
        ),
        (|base| json!({"issuer": base}), "not the JSON metadata"),
        (
            |base| json!({"issuer": base, "jwks_uri": "/keys"}),
            "not an https URL",
        ),
        (|_| json!([]), "character for character"),
    ];
    for (says, problem) in cases {
        let server = issuer_server(PATH, says);
        let error = fetch_once(&discovered(&server, ""))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(problem), "{error}");
        assert!(server.received().iter().all(|seen| seen.target != "/keys"));
    }
}

#[tokio::test]
async fn set_without_usable_key_is_an_error_of_a_check() {
    let keys = KeyServer::start(&[]);
    let error = fetch_once(&keys.issuer("https://outside.test"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no usable key"), "{error}");
}

/// A proxy that connects where it is asked to, and remembers the heads of requests.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(Self::serve(client, Arc::clone(&seen)));
            }
        });
        Self { address, heads }
    }

    async fn serve(mut client: TcpStream, heads: Arc<Mutex<Vec<String>>>) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        heads.lock().push(head.clone());
        let target = head.split(' ').nth(1).unwrap().to_owned();
        if head.starts_with("CONNECT ") {
            let mut server = TcpStream::connect(&target).await.unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        } else {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            client.write_all(answer).await.unwrap();
        }
    }
}

#[tokio::test]
async fn https_goes_through_the_proxy_by_connect() {
    let (authority, proxy) = (Authority::new(), Proxy::start().await);
    let server = StubUpstream::tls(authority.issue("127.0.0.1").acceptor(), |_| key_set());
    let proxies = Proxies::all(&format!("http://me:secret@{}", proxy.address));
    let client = HttpClient::new(Reach::Anywhere, &trust_in(&authority), proxies);
    let uri = format!("https://{}/jwks.json", server.address()).parse().unwrap();
    client.get(&uri, HeaderMap::new(), BOUNDS).await.unwrap();
    let heads = proxy.heads.lock().clone();
    let [head] = heads.as_slice() else {
        panic!("{heads:?}");
    };
    assert!(
        head.starts_with(&format!("CONNECT {} HTTP/1.1\r\n", server.address())),
        "{head}"
    );
    assert!(
        head.to_lowercase()
            .contains("proxy-authorization: basic bwu6c2vjcmv0\r\n"),
        "{head}"
    );
    assert_eq!(server.only().all("Proxy-Authorization"), [""; 0]);
}

#[tokio::test]
async fn plain_http_goes_through_the_proxy_with_the_whole_url() {
    let (server, proxy) = (StubUpstream::start(), Proxy::start().await);
    let proxies = Proxies::all(&format!("http://me:secret@{}", proxy.address));
    let client = HttpClient::new(Reach::Anywhere, &Trust::System, proxies);
    let uri = format!("http://{}/jwks.json", server.address()).parse().unwrap();
    let body = client.get(&uri, HeaderMap::new(), BOUNDS).await.unwrap();
    assert_eq!(&body[..], b"{}");
    let head = proxy.heads.lock()[0].clone();
    assert!(head.starts_with(&format!("GET {uri} HTTP/1.1\r\n")), "{head}");
    assert!(
        head.to_lowercase()
            .contains("proxy-authorization: basic bwu6c2vjcmv0\r\n"),
        "{head}"
    );
    server.assert_untouched();
}

#[tokio::test]
async fn proxy_that_is_no_http_proxy_is_named() {
    use_one_provider();
    let client = HttpClient::new(
        Reach::Anywhere,
        &Trust::System,
        Proxies::all("socks5://127.0.0.1:1"),
    );
    let uri = "https://127.0.0.1:1/".parse().unwrap();
    let error = client.get(&uri, HeaderMap::new(), BOUNDS).await.unwrap_err();
    assert!(error.to_string().contains("HTTPS_PROXY"), "{error}");
}

#[tokio::test]
async fn private_address_stays_out_of_reach_behind_a_proxy() {
    let proxy = Proxy::start().await;
    let reach = Reach::Public { besides: [].into() };
    let proxies = Proxies::all(&format!("http://{}", proxy.address));
    let client = HttpClient::new(reach, &Trust::System, proxies);
    for uri in ["https://127.0.0.1/", "https://[::1]/", "https://192.168.0.1/"] {
        let error = client.get(&uri.parse().unwrap(), HeaderMap::new(), BOUNDS).await;
        assert!(matches!(error, Err(FetchError::Inside(_))), "{uri}");
    }
    assert!(proxy.heads.lock().is_empty());
}

/// The command reads `--ca` and the proxy variables.
#[tokio::test(flavor = "multi_thread")]
async fn token_command_takes_ca_and_proxy() {
    let (authority, proxy) = (Authority::new(), Proxy::start().await);
    let server = StubUpstream::tls(authority.issue("127.0.0.1").acceptor(), |_| {
        json_reply(&json!({"access_token": "the-token"}))
    });
    let key = authority.issue("client.test").key;
    let run = async |ca: bool, no_proxy: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command
            .args(["token", "--client-id", "app", "--key-id", "key", "--scope", "a"])
            .arg(format!("--token-url=https://{}/token", server.address()))
            .arg("--private-key")
            .arg(&key)
            .env("HTTPS_PROXY", format!("http://{}", proxy.address))
            .env("NO_PROXY", no_proxy);
        if ca {
            command.arg("--ca").arg(authority.file());
        }
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    };
    let output = run(true, "").await;
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "the-token\n",
        "{output:?}"
    );
    assert_eq!(proxy.heads.lock().len(), 1);
    let output = run(true, "127.0.0.0/8").await;
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "the-token\n",
        "{output:?}"
    );
    assert_eq!(proxy.heads.lock().len(), 1, "NO_PROXY names the server");
    let output = run(false, "").await;
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("UnknownIssuer"), "{complaint}");
}
