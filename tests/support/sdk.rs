//! The released SDKs, driven over standard input and output.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::json;

use super::process::Process;
use super::product::{World, project_file};

/// How an SDK is set up.
#[derive(Clone, Copy)]
pub struct Setup {
    /// The source: a name in the env file.
    pub write_key: &'static str,
    /// Whether the SDK gets the id of the OAuth app.
    pub oauth: bool,
    pub gzip: bool,
}

pub const ENFORCED: Setup = Setup {
    write_key: "WRITE_KEY",
    oauth: true,
    gzip: false,
};

/// An SDK in a process of its own.
pub struct Sdk(Process);

/// What became of the events of one `send`.
#[derive(Debug, Deserialize)]
pub struct Report {
    pub sent: usize,
    pub delivered: usize,
    pub failed: usize,
    pub errors: Vec<String>,
    pub message_ids: Vec<String>,
    pub failed_ids: BTreeSet<String>,
}

impl Report {
    pub fn delivered_ids(&self) -> BTreeSet<String> {
        let delivered = self
            .message_ids
            .iter()
            .filter(|id| !self.failed_ids.contains(*id));
        delivered.cloned().collect()
    }
}

impl Sdk {
    pub fn node(world: &World, setup: Setup) -> Self {
        let installed = project_file("tests/sdk/node/node_modules/@segment/analytics-node");
        expect_set_up(&installed);
        let mut command = Command::new("node");
        command.arg(project_file("tests/sdk/node/send.mjs"));
        Self::start(command, world, setup)
    }

    pub fn python(world: &World, setup: Setup) -> Self {
        let python = project_file("target/test-env/venv/bin/python");
        expect_set_up(&python);
        let mut command = Command::new(python);
        command.arg(project_file("tests/sdk/python/send.py"));
        Self::start(command, world, setup)
    }

    fn start(mut command: Command, world: &World, setup: Setup) -> Self {
        let env = &world.env;
        for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(proxy);
        }
        command
            .env("TRACKING_URL", env.get("GATEWAY_URL"))
            .env("WRITE_KEY", env.get(setup.write_key));
        if setup.oauth {
            for name in ["CLIENT_ID", "KEY_ID", "PRIVATE_KEY_FILE", "SCOPE", "AUTH_SERVER"] {
                command.env(name, env.get(name));
            }
        }
        if setup.gzip {
            command.env("GZIP", "1");
        }
        Self(Process::start(&mut command))
    }

    /// Sends events, and returns once the outcome of each is known.
    pub fn send(&mut self, prefix: &str, count: usize) -> Report {
        let before = self.0.stdout.so_far().len();
        let command = json!({"op": "send", "count": count, "prefix": prefix, "deadline_s": 45});
        self.0.say(&command.to_string());
        let line = self
            .0
            .stdout
            .wait_for("the SDK's answer", |lines| lines.get(before).cloned());
        serde_json::from_str(&line).unwrap()
    }

    pub fn quit(mut self) {
        self.0.say(r#"{"op":"quit"}"#);
        let finished = self.0.finish();
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    }
}

fn expect_set_up(installed: &Path) {
    assert!(
        installed.exists(),
        "{} is missing; `make setup` installs what the tests drive, and `make test` runs it first",
        installed.display()
    );
}
