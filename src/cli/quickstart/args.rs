//! The flags of `portcullis quickstart`.

use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct QuickstartArgs {
    /// Where keys, store and env file go
    #[arg(long, value_name = "DIR", default_value = "data/quickstart")]
    pub(super) dir: PathBuf,
    /// Where the gateway listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(super) gateway: String,
    /// Where the token endpoint, the management API and the console listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    pub(super) control_plane: String,
    /// Where metrics and health listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    pub(super) observability: String,
    /// Where the sample upstream listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    pub(super) upstream: String,
    /// Start this many further gateways, each a process of its own that is fed by the control plane: 0 to 16
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=16))]
    pub(super) edges: u8,
    /// Answer 511 instead of 401 where a new token would help: SDKs then send the batch again
    #[arg(long, value_name = "STATUS", default_value_t = 401, value_parser = reauthenticate_status)]
    pub(super) reauthenticate_status: u16,
    /// Write one line of JSON a request to standard output
    #[arg(long)]
    pub(super) access_log: bool,
}

pub(crate) fn reauthenticate_status(text: &str) -> Result<u16, &'static str> {
    match text {
        "401" => Ok(401),
        "511" => Ok(511),
        _ => Err("write 401 or 511"),
    }
}
