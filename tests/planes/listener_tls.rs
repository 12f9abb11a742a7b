//! TLS on the listeners of the control plane and of observability: served, reloaded, refused, warned of.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::support::certs::{Authority, Issued};
use super::support::load::series;
use super::support::process::{DEADLINE, Process, eventually, portcullis};
use super::support::scratch::Scratch;
use super::support::web::{Answer, read_answer};

fn config(certificate: &Issued, observability: &Issued, client_ca: Option<&Path>) -> String {
    let pair = |held: &Issued| {
        format!(
            "certificates: [{{cert: \"{}\", key: \"{}\"}}]",
            held.cert.display(),
            held.key.display()
        )
    };
    let client_ca = client_ca.map_or(String::new(), |file| {
        format!(", client_ca: \"{}\"", file.display())
    });
    format!(
        r#"version: 1
control_plane:
  listen: "127.0.0.1:0"
  tls: {{{}}}
  store: "sqlite:portcullis.db"
observability:
  listen: "127.0.0.1:0"
  tls: {{{}{client_ca}}}
"#,
        pair(certificate),
        pair(observability)
    )
}

struct Served {
    process: Process,
    control: SocketAddr,
    observability: SocketAddr,
}

impl Served {
    fn start(config: &Path) -> Self {
        let process = Process::start(portcullis(["serve", "--config"]).arg(config));
        let at = |listener: &'static str| {
            process.stderr.wait_for("a listener", |lines| {
                let mut records = lines
                    .iter()
                    .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
                let record = records
                    .find(|record| record["listener"] == listener && record["message"] == "listening")?;
                record["address"].as_str()?.parse().ok()
            })
        };
        Self {
            control: at("control_plane"),
            observability: at("observability"),
            process,
        }
    }

    fn wait_for_log(&self, message: &str, times: usize) {
        self.process.stderr.wait_for(message, |lines| {
            let said = lines.iter().filter(|line| line.contains(message));
            (said.count() >= times).then_some(())
        });
    }
}

/// The response over TLS, and the certificate that the server showed. None where the connection ended before.
fn get(address: SocketAddr, name: &str, path: &str, client: ClientConfig) -> Option<(Answer, Vec<u8>)> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let name = name.to_owned().try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let answer = read_answer(&mut stream, "GET")?;
    let shown = stream.conn.peer_certificates()?[0].to_vec();
    Some((answer, shown))
}

#[test]
fn control_plane_and_observability_reload_their_certificates() {
    let dir = Scratch::new();
    let (authority, scrapers) = (Authority::new(), Authority::new());
    let first = authority.issue("auth.test");
    let metrics = authority.issue("metrics.test");
    let file = dir.write(
        "portcullis.yaml",
        &config(&first, &metrics, Some(&scrapers.file())),
    );
    let served = Served::start(&file);
    let shown = || {
        let answer = get(
            served.control,
            "auth.test",
            "/.well-known/oauth-authorization-server",
            authority.client(&[], None),
        );
        let (message, shown) = answer.unwrap();
        assert_eq!(message.status(), 200);
        // The public URL is that of the listener unless the config names one.
        assert_eq!(message.json()["issuer"], format!("https://{}", served.control));
        shown
    };
    assert_eq!(shown(), first.chain[0].to_vec());

    // Metrics need a certificate of the scrapers' authority.
    let scraper = scrapers.issue("scraper.test");
    let scrape = |own| {
        get(
            served.observability,
            "metrics.test",
            "/metrics",
            authority.client(&[], own),
        )
    };
    assert!(scrape(None).is_none());
    let text = || String::from_utf8(scrape(Some(&scraper)).unwrap().0.body).unwrap();
    let reloads = |plane: &str, result: &str| {
        let all = series(&text(), "portcullis_tls_reload_total");
        all[&format!("plane=\"{plane}\",result=\"{result}\"")]
    };
    assert_eq!(reloads("control_plane", "ok"), 0.0);

    // The same files with new content.
    let second = authority.issue("auth.test");
    eventually("the new certificate is shown", || {
        shown() == second.chain[0].to_vec()
    });
    assert_eq!(reloads("control_plane", "ok"), 1.0);
    assert_eq!(reloads("observability", "ok"), 0.0);

    // A key that belongs to another certificate.
    let key = std::fs::read(&second.key).unwrap();
    std::fs::write(&second.key, std::fs::read(&metrics.key).unwrap()).unwrap();
    served.process.signal("HUP");
    served.wait_for_log("certificates refused", 1);
    assert_eq!(shown(), second.chain[0].to_vec());
    assert_eq!(reloads("control_plane", "error"), 1.0);
    std::fs::write(&second.key, key).unwrap();
    served.process.signal("HUP");
    eventually("the whole pair is read", || reloads("control_plane", "ok") == 2.0);

    // Observability's own files.
    let renewed = authority.issue("metrics.test");
    eventually("the renewed certificate is shown", || {
        scrape(Some(&scraper)).unwrap().1 == renewed.chain[0].to_vec()
    });
    assert_eq!(served.process.stop().code, Some(0));
}

#[test]
fn expired_certificate_of_any_listener_is_a_warning() {
    let dir = Scratch::new();
    let authority = Authority::new();
    let (expired, good) = (
        authority.issue_expired("auth.test"),
        authority.issue("metrics.test"),
    );
    for (control, observability, key) in [
        (&expired, &good, "portcullis.yaml:4:"),
        (&good, &expired, "portcullis.yaml:8:"),
    ] {
        let file = dir.write("portcullis.yaml", &config(control, observability, None));
        let done = Process::run(portcullis(["check"]).arg(&file));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let output = done.stdout + &done.stderr;
        assert!(
            output.contains(key) && output.contains("warning[W008]"),
            "{output}"
        );
        let served = Served::start(&file);
        served.wait_for_log("expired", 1);
        served.wait_for_log("certificate expires soon or has expired; replace it", 1);
        assert_eq!(served.process.stop().code, Some(0));
    }
}

#[test]
fn certificate_that_cannot_be_used_stops_check_and_serve() {
    let dir = Scratch::new();
    let authority = Authority::new();
    let (good, other) = (authority.issue("auth.test"), authority.issue("other.test"));
    let mixed = std::fs::read(&other.key).unwrap();
    let whole = config(&good, &other, None);
    std::fs::write(&good.key, mixed).unwrap();
    let file = dir.write("portcullis.yaml", &whole);
    for words in [["check", "--"], ["serve", "--config"]] {
        let done = Process::run(portcullis(words).arg(&file));
        assert_eq!(done.code, Some(1));
        let output = done.stdout + &done.stderr;
        let place = "portcullis.yaml:4:";
        let said = output.contains(place) && output.contains("does not belong to the certificate");
        assert!(said, "{output}");
    }
    let text = "version: 1\ncontrol_plane: {listen: \"127.0.0.1:0\", store: \"sqlite:x.db\"}\nobservability:\n  tls: {certificates: [{cert: a, key: b}]}\n";
    let done = Process::run(portcullis(["check", "--"]).arg(dir.write("no-listen.yaml", text)));
    let output = done.stdout + &done.stderr;
    assert!(
        output.contains("`observability.tls` needs `observability.listen`"),
        "{output}"
    );
}
