//! A gateway that only receives the policy.

use std::sync::Arc;

use portcullis::control::Control;
use portcullis::control::fleet::publish;
use portcullis::domain::policy::{Freshness, Policy, WhenStale};
use portcullis::feed::{Subscriber, feed};
use portcullis::snapshot;
use portcullis::snapshot::Update;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::DEADLINE;

pub const FRESHNESS: Freshness = Freshness {
    max_age_s: 3600,
    when_stale: WhenStale::Deny,
};

/// A gateway's end of the feed, applying updates by hand.
pub struct Gateway {
    pub subscriber: Subscriber,
    pub policy: Policy,
    pub snapshots: usize,
    pub publishing: JoinHandle<()>,
    pub stop: oneshot::Sender<()>,
}

impl Gateway {
    pub fn attach(control: &Arc<Control>) -> Self {
        let (publisher, subscriber) = feed();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = publish::run(
            Arc::clone(&control.fleet),
            Arc::clone(&control.traffic),
            publisher,
            async {
                let _ = stopped.await;
            },
        );
        let policy = Policy::empty(FRESHNESS);
        Self {
            subscriber,
            policy,
            snapshots: 0,
            publishing: tokio::spawn(run),
            stop,
        }
    }

    /// Takes one update, installs it and says so. Changes must be those of the very next version.
    pub async fn take(&mut self) {
        let update = tokio::time::timeout(DEADLINE, self.subscriber.next())
            .await
            .unwrap()
            .unwrap();
        match update {
            Update::Snapshot(snapshot) => {
                self.snapshots += 1;
                self.policy = snapshot::compile(&snapshot, &[], FRESHNESS).unwrap();
            }
            Update::Changes(changes) => self.policy = snapshot::apply(&self.policy, &changes).unwrap(),
            Update::Confirmed { version, .. } => assert_eq!(version, self.policy.version()),
        }
        self.subscriber.installed(self.policy.version());
    }

    pub async fn reach(&mut self, version: u64) {
        while self.policy.version() < version {
            self.take().await;
        }
    }
}
