//! The listener: HTTP/2, requests under way when it stops, and what its logs never hold.

use std::io;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{DEADLINE, TempDir, TestControl, form, listen_on_all_threads};

#[tokio::test]
async fn double_slash_token_path_works_over_http_2() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let stream = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    for path in ["/token", "//token"] {
        let parts = http::uri::Parts::from(http::Uri::from_static("http://control.test/"));
        let mut parts = parts;
        parts.path_and_query = Some(path.parse().unwrap());
        let request = http::Request::post(http::Uri::from_parts(parts).unwrap())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form(
                &app.assertion(),
                "tracking_api:write",
            ))))
            .unwrap();
        let answer = tokio::time::timeout(DEADLINE, sender.send_request(request))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert!(answer.headers().contains_key("date"));
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert!(body["access_token"].is_string());
    }
}

#[tokio::test]
async fn request_in_progress_finishes_during_shutdown() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let body = form(&tenant.app().await.assertion(), "tracking_api:write");
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body when the handler reads it: the request is under way now.
    let mut interim = [0; 25];
    let read = tokio::time::timeout(DEADLINE, stream.read_exact(&mut interim))
        .await
        .unwrap();
    read.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");

    let rest = async {
        // The idle connection is closed first, which shows that the server has begun to stop.
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let (answer, ()) = tokio::time::timeout(DEADLINE, async { tokio::join!(rest, server.stop()) })
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

/// Where a test's logs go.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn logs_have_no_secret_at_any_level() {
    let logs = Logs::default();
    let writer = logs.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    listen_on_all_threads();
    let _guard = tracing::subscriber::set_default(subscriber);
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let source = tenant.source("source_function").await;
    let (good, wrong) = (
        app.assertion(),
        app.assertion_with("aud", json!("https://elsewhere.test")),
    );
    let answer = server.ask(&good, "").await;
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(server.ask(&good, "").await.status, 401);
    assert_eq!(server.ask(&wrong, "").await.status, 401);
    let revoke = json!({"token": token});
    let path = format!("/apps/{}/tokens/revoke", app.id());
    assert_eq!(tenant.call("POST", &path, Some(revoke)).await.status, 200);
    let pasted = json!({"name": "next", "pem": app.key.private_pem});
    assert_eq!(
        tenant
            .call("POST", &format!("/apps/{}/keys", app.id()), Some(pasted))
            .await
            .status,
        422
    );

    let logs = String::from_utf8(logs.0.lock().unwrap().clone()).unwrap();
    assert!(
        logs.contains("token issued") && logs.contains("client request rejected"),
        "{logs}"
    );
    let signing = server.control.issuer_keys.signing_key_pkcs8_pem();
    let lines = |pem: &str| {
        pem.lines()
            .map(str::to_owned)
            .filter(|line| !line.contains('-'))
            .collect::<Vec<_>>()
    };
    let mut secrets = vec![tenant.api_token.clone(), source.write_key.expose().to_owned()];
    secrets.extend(
        [good, wrong, token]
            .iter()
            .map(|jws| jws.rsplit_once('.').unwrap().1.to_owned()),
    );
    secrets.extend(lines(&signing));
    secrets.extend(lines(&app.key.private_pem));
    for secret in secrets {
        assert!(!logs.contains(&secret), "{secret}");
    }
}
