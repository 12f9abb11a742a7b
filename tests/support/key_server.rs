//! A server of key sets that can be down, hang, answer garbage, rotate its keys and come back.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portcullis::config::{JwksUri, KeyOrigin, KeyPlace, OutsideIssuer};
use portcullis::domain::claim_names::ClaimNames;
use portcullis::domain::key::Algorithm;
use portcullis::domain::policy::AcceptedTypes;
use portcullis::snapshot::{Jwk, KeyBounds};
use serde_json::json;

use crate::forge::{AUDIENCE, Forge};
use crate::upstream::{Reply, ReservedPort, StubUpstream};

/// A running key server.
pub struct KeyServer {
    server: StubUpstream,
    reply: Arc<Mutex<Reply>>,
}

impl KeyServer {
    /// One that publishes these keys.
    pub fn start(keys: &[Jwk]) -> Self {
        Self::start_on(ReservedPort::new(), keys)
    }

    /// The same on a port that was reserved for it.
    pub fn start_on(port: ReservedPort, keys: &[Jwk]) -> Self {
        let reply = Arc::new(Mutex::new(published(keys)));
        let shared = Arc::clone(&reply);
        Self {
            server: StubUpstream::answering_on(port, move |_| shared.lock().clone()),
            reply,
        }
    }

    /// From now on these keys and no others.
    pub fn publish(&self, keys: &[Jwk]) {
        *self.reply.lock() = published(keys);
    }

    /// From now on this answer.
    pub fn answer(&self, reply: Reply) {
        *self.reply.lock() = reply;
    }

    /// How many fetches came.
    pub fn fetches(&self) -> usize {
        self.server.received().len()
    }

    pub async fn until_fetched(&self, times: usize) {
        self.server.until_received(times).await;
    }

    pub async fn stop(self) -> ReservedPort {
        self.server.stop().await
    }

    /// An outside issuer with its keys here.
    pub fn issuer(&self, name: &str) -> OutsideIssuer {
        issuer_at(self.server.address(), name)
    }
}

/// An outside issuer whose keys are served at `address`, with bounds no test waits out.
pub fn issuer_at(address: std::net::SocketAddr, name: &str) -> OutsideIssuer {
    OutsideIssuer {
        issuer: name.to_owned(),
        keys: KeyOrigin::Uri(JwksUri {
            place: KeyPlace::Uri(format!("http://{address}/jwks.json").parse().unwrap()),
            ca: None,
            refresh: Duration::from_secs(3_600),
            fetch_timeout: Duration::from_secs(10),
            cooldown: Duration::from_secs(3_600),
            wait: Duration::from_secs(10),
        }),
        key_bounds: KeyBounds::default(),
        algorithms: vec![Algorithm::Rs256],
        audiences: vec![AUDIENCE.to_owned()],
        types: AcceptedTypes::Any,
        claims: ClaimNames::default(),
        leeway_s: 0,
        lifetime_max_s: None,
    }
}

/// The fetching part of an issuer's config.
pub fn uri(issuer: &mut OutsideIssuer) -> &mut JwksUri {
    match &mut issuer.keys {
        KeyOrigin::Uri(uri) => uri,
        KeyOrigin::File(file) => panic!("keys of {} come from a file", file.display()),
    }
}

/// A forge's key under another id.
pub fn named(forge: &Forge, id: &str) -> Jwk {
    Jwk {
        kid: Some(id.to_owned()),
        ..forge.jwk()
    }
}

fn published(keys: &[Jwk]) -> Reply {
    let body = json!({ "keys": keys }).to_string();
    Reply::text(&format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}
