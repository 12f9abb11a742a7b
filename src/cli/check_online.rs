//! `portcullis check --online`: fetches the key sets that a config names, as the gateway will, and says what they hold.

use std::collections::BTreeMap;

use futures::future::join_all;

use crate::config;
use crate::config::{Config, KeyOrigin, OutsideIssuer, Problem, Severity};
use crate::gateway::link::jwks;
use crate::gateway::link::jwks::FoundKeys;

/// What was found: a line for each issuer, and a warning for each that has no usable keys.
pub(super) async fn key_sets(config: &Config) -> (Vec<String>, Vec<Problem>) {
    let fetched = config
        .issuers
        .iter()
        .enumerate()
        .filter(|(_, issuer)| matches!(issuer.keys, KeyOrigin::Uri(_)))
        .map(async |(at, issuer)| (at, issuer, jwks::fetch_once(issuer).await));
    let (mut notes, mut problems) = (Vec::new(), Vec::new());
    for (at, issuer, result) in join_all(fetched).await {
        match result {
            Ok(Some(found)) => notes.extend(lines(issuer, &found)),
            Ok(None) => {}
            Err(error) => problems.push(warning(
                config,
                at,
                &format!("issuer `{}`: {error}", issuer.issuer),
            )),
        }
    }
    (notes, problems)
}

/// The number of keys for each algorithm, and each key that is left out with the reason.
fn lines(issuer: &OutsideIssuer, found: &FoundKeys) -> Vec<String> {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for key in found.keys.iter() {
        *kinds.entry(key.algorithm().as_str()).or_default() += 1;
    }
    let kinds: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    let name = &issuer.issuer;
    let mut lines = vec![format!("{name}: keys from {}: {}", found.uri, kinds.join(", "))];
    lines.extend(found.left_out.iter().map(|key| {
        let kid = key
            .kid
            .as_deref()
            .map_or_else(String::new, |kid| format!(" `{kid}`"));
        format!("{name}: key {}{kid} left out: {}", key.at + 1, key.why)
    }));
    lines
}

fn warning(config: &Config, at: usize, message: &str) -> Problem {
    let places = ["jwks_uri", "discovery", "issuer"];
    let mut places = places
        .iter()
        .map(|key| config.places.get(&format!("issuers[{at}].{key}")));
    let hint = "make the key set reachable from this host, or correct `jwks_uri`, `issuer` or `ca`";
    Problem {
        severity: Severity::Warning(config::KEYS_NOT_FETCHED),
        ..Problem::at(
            &config.path,
            places.find_map(|place| place),
            message.to_owned(),
            hint.to_owned(),
        )
    }
}
