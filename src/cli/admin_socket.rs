//! The admin socket: where commands of the same user ask a running process.
//!
//! One question a connection, one line of JSON each way. Connections are served one after the other, each within a
//! deadline, so that nobody who may connect can hold the socket.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::explain::output::report;
use super::failure::Failure;
use super::private_socket;
use crate::gateway::explain::denials::RecentDenials;

const REJECTED_USER: &str = "admin socket: connection of another user rejected";
const SOCKET_FAILED: &str = "admin socket failed";

/// How long one question may take.
const WITHIN: Duration = Duration::from_secs(5);

/// The longest question and the longest answer, in bytes.
const QUESTION_BYTES_MAX: u64 = 4 << 10;
const ANSWER_BYTES_MAX: u64 = 256 << 10;

/// What a command asks.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Question {
    /// The denial of the request with this id.
    Denial(String),
}

/// What a running process answers from.
pub(super) struct AdminSocket {
    listener: UnixListener,
    denials: Arc<RecentDenials>,
}

impl AdminSocket {
    /// Listens at `path`, in place of a process that did before.
    pub(super) fn open(path: &Path, denials: Arc<RecentDenials>) -> Result<Self, Failure> {
        let listener = private_socket::listen(path).map_err(|error| {
            Failure::input(format_args!(
                "the admin socket {} cannot be made: {error}; choose another path for admin.socket",
                path.display()
            ))
        })?;
        Ok(Self { listener, denials })
    }

    /// Answers until cancelled.
    pub(super) async fn serve(self) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) if private_socket::is_ours(&stream) => {
                    // A command that asks nothing, or reads nothing, is its own affair.
                    let _ = tokio::time::timeout(WITHIN, self.answer(stream)).await;
                }
                Ok(_) => tracing::warn!("{REJECTED_USER}"),
                Err(error) => {
                    tracing::warn!(%error, "{SOCKET_FAILED}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn answer(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let mut line = Vec::new();
        let (reading, _) = stream.split();
        BufReader::new(reading.take(QUESTION_BYTES_MAX))
            .read_until(b'\n', &mut line)
            .await?;
        let answer = match serde_json::from_slice(&line) {
            Ok(Question::Denial(id)) => self.denials.find(&id).map_or(Value::Null, |record| {
                let mut report = report(&record.explanation, &[]);
                if let Some(members) = report.as_object_mut() {
                    members.insert(
                        "request".to_owned(),
                        serde_json::json!({
                            "id": record.request_id,
                            "at": record.at.0,
                            "client": record.client,
                            "method": record.method,
                            "path": record.path,
                        }),
                    );
                }
                report
            }),
            Err(_) => Value::Null,
        };
        stream.write_all(format!("{answer}\n").as_bytes()).await
    }
}

/// Asks the process at `path` for a denial. `None` where it holds none with this id.
pub(super) async fn denial(path: &Path, request_id: &str) -> Result<Option<Value>, Failure> {
    let question =
        serde_json::to_string(&Question::Denial(request_id.to_owned())).map_err(Failure::internal)?;
    let asking = async {
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(format!("{question}\n").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let timed_out = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    let answer = tokio::time::timeout(WITHIN, asking)
        .await
        .unwrap_or_else(|_| Err(timed_out()));
    let answer = answer.map_err(|error| {
        Failure::Environment(format!(
            "no gateway answers at the admin socket {}: {error}; is `portcullis serve` running with this config?",
            path.display()
        ))
    })?;
    match serde_json::from_slice(&answer) {
        Ok(Value::Null) => Ok(None),
        Ok(report) => Ok(Some(report)),
        Err(_) => Err(Failure::internal("the answer of the admin socket is not JSON")),
    }
}
