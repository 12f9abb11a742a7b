//! The API that quickstart puts behind the gateway: it takes everything and writes down what it got.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, Limited};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::failure::Failure;
use crate::domain::digest::sha256;

/// The largest body taken, in bytes.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Serves until `shutdown`, appending one JSON line a request to the file at `log`.
pub(super) async fn serve(
    listener: TcpListener,
    log: &Path,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Failure> {
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        // It shows what the API was sent, credentials of its own included.
        .mode(0o600)
        .open(log)
        .map_err(|error| Failure::input(format_args!("{} cannot be written: {error}", log.display())))?;
    let file = Arc::new(Mutex::new(file));
    let app = Router::new().fallback(move |request: Request| {
        let file = Arc::clone(&file);
        async move { take(request, &file).await }
    });
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown)
        .await
        .map_err(Failure::internal)
}

async fn take(request: Request, log: &Mutex<std::fs::File>) -> Response {
    let (head, body) = request.into_parts();
    let body = Limited::new(Body::new(body), BODY_BYTES_MAX).collect().await;
    let (bytes, complete) =
        body.map_or_else(|_| (Vec::new(), false), |whole| (whole.to_bytes().to_vec(), true));
    let headers: Vec<Value> = head
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let hash: String = sha256(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let line = json!({
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "version": format!("{:?}", head.version),
        "headers": headers,
        "body_sha256": hash,
        "body_len": bytes.len(),
        "complete": complete,
    });
    // One write a line, so that lines of concurrent requests do not mix.
    let text = format!("{line}\n");
    let _ = log.lock().write_all(text.as_bytes());
    axum::Json(json!({"success": true})).into_response()
}
