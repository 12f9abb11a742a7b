//! Reloads the config file while the planes run: a changed file is applied whole, or not at all.

use std::path::PathBuf;
use std::time::Duration;

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

use super::failure::Failure;
use super::planes::Planes;
use crate::clock::Clock;
use crate::config;
use crate::config::{Config, FileWatch, KeyChanges, Keys};

const CONFIG_REFUSED: &str = "config refused; keeping the current one";
const CONFIG_UNCHANGED: &str = "config reloaded; nothing has changed";
const CONFIG_RELOADED: &str = "config reloaded";
const KEYS_NEED_RESTART: &str = "these keys keep their old values until a restart or an upgrade";

/// How often the file is looked at where its folder cannot be watched.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The most keys named in one log line.
const KEYS_NAMED_MAX: usize = 20;

/// The config in force, and the file it is read from.
pub(super) struct Reloader {
    path: PathBuf,
    watch: FileWatch,
    /// The keys of the file as it was last seen, good or not.
    seen: Option<Keys>,
    /// The keys that are in force.
    in_force: Keys,
    reloads: IntCounterVec,
    loaded_at: IntGauge,
    is_last_good: IntGauge,
}

impl Reloader {
    /// Reloads what `config` was read from, as it changes.
    pub(super) fn new(config: &Config, registry: &Registry) -> Result<Self, Failure> {
        let reloads = IntCounterVec::new(
            Opts::new(
                "portcullis_config_reload_total",
                "Times that the config file was read again, by result.",
            ),
            &["result"],
        )
        .map_err(Failure::internal)?;
        let loaded_at = IntGauge::new(
            "portcullis_config_loaded_timestamp_seconds",
            "When the config in force was read.",
        )
        .map_err(Failure::internal)?;
        let is_last_good = IntGauge::new(
            "portcullis_config_last_reload_successful",
            "0 if the config file on disk was refused and an earlier config is in force, else 1.",
        )
        .map_err(Failure::internal)?;
        is_last_good.set(1);
        for result in ["ok", "error"] {
            reloads.with_label_values(&[result]);
        }
        registry
            .register(Box::new(reloads.clone()))
            .map_err(Failure::internal)?;
        for gauge in [&loaded_at, &is_last_good] {
            registry
                .register(Box::new(gauge.clone()))
                .map_err(Failure::internal)?;
        }
        let reloader = Self {
            path: config.path.clone(),
            watch: FileWatch::new([&config.path].into_iter(), LOOK_EVERY),
            seen: Some(config.keys.clone()),
            in_force: config.keys.clone(),
            reloads,
            loaded_at,
            is_last_good,
        };
        reloader.loaded_now();
        Ok(reloader)
    }

    /// Resolves when the file's content is another than when it was last seen.
    pub(super) async fn changed(&mut self) {
        loop {
            self.watch.next().await;
            let now = config::load(&self.path).ok().map(|config| config.keys);
            if now != self.seen {
                return;
            }
        }
    }

    /// Reads the file and takes over what can be taken over. A file with a mistake changes nothing.
    pub(super) fn reload(&mut self, planes: &mut Planes) {
        planes.look_at_files();
        let (result, outcome) = match config::load(&self.path) {
            Ok(config) => {
                self.seen = Some(config.keys.clone());
                (self.apply(planes, &config), Some(config))
            }
            Err(error) => {
                self.seen = None;
                (Err(error.to_string()), None)
            }
        };
        match (result, outcome) {
            (Ok(changes), Some(config)) => {
                self.in_force = self.in_force.with_live_of(&config.keys);
                self.reloads.with_label_values(&["ok"]).inc();
                self.is_last_good.set(1);
                self.loaded_now();
                report(&changes);
            }
            (Err(error), _) => {
                self.reloads.with_label_values(&["error"]).inc();
                self.is_last_good.set(0);
                tracing::error!(error, "{CONFIG_REFUSED}");
            }
            (Ok(_), None) => {}
        }
    }

    fn apply(&self, planes: &mut Planes, config: &Config) -> Result<KeyChanges, String> {
        let changes = self.in_force.changes_to(&config.keys);
        if !changes.live.is_empty() {
            planes.apply(config).map_err(|error| error.to_string())?;
        }
        Ok(changes)
    }

    fn loaded_now(&self) {
        let now = Clock::System.now().0;
        self.loaded_at.set(i64::try_from(now).unwrap_or(i64::MAX));
    }
}

fn report(changes: &KeyChanges) {
    if changes.live.is_empty() && changes.fixed.is_empty() {
        tracing::info!("{CONFIG_UNCHANGED}");
        return;
    }
    tracing::info!(changed = named(&changes.live), "{CONFIG_RELOADED}");
    if !changes.fixed.is_empty() {
        tracing::warn!(unchanged = named(&changes.fixed), "{KEYS_NEED_RESTART}");
    }
}

fn named(keys: &[String]) -> String {
    let mut named = keys
        .iter()
        .take(KEYS_NAMED_MAX)
        .cloned()
        .collect::<Vec<_>>()
        .join(" ");
    if keys.len() > KEYS_NAMED_MAX {
        named.push_str(&format!(" and {} more", keys.len() - KEYS_NAMED_MAX));
    }
    named
}
