//! Compares two configs: what changes for requests, then every other key by its name.

use super::findings::Findings;
use super::{gateway, issuers};
use crate::config::{Config, PolicyOrigin};
use crate::domain::policy::WhenStale;

/// Keys whose effect on requests is described in words. Any other key is named as it stands in the file.
const IN_WORDS: [&str; 9] = [
    "gateway.apis.",
    "gateway.limits.",
    "gateway.public_url",
    "gateway.trusted_proxies",
    "issuers[",
    "policy.max_age",
    "policy.when_stale",
    "policy.source",
    "policy.file",
];

pub(super) fn compare(old: &Config, new: &Config, findings: &mut Findings) {
    match (&old.gateway, &new.gateway) {
        (Some(old), Some(new)) => gateway::compare(old, new, findings),
        (None, Some(_)) => findings.allow("the config has a gateway now: requests to its APIs"),
        (Some(_), None) => findings.deny("the config has no gateway any more: every request"),
        (None, None) => {}
    }
    issuers::compare(&old.issuers, &new.issuers, findings);
    freshness(old, new, findings);
    let origin = |config: &Config| match &config.policy {
        PolicyOrigin::Bundled => "the bundled control plane".to_owned(),
        PolicyOrigin::File(path) => format!("the file {}", path.display()),
        PolicyOrigin::Remote(remote) => format!("the control planes {}", remote.control_planes.join(", ")),
    };
    if old.policy != new.policy && origin(old) != origin(new) {
        findings.other(format!(
            "the policy comes from {} -> {}",
            origin(old),
            origin(new)
        ));
    }
    let changes = old.keys.changes_to(&new.keys);
    for key in changes.live.iter().chain(&changes.fixed) {
        if !IN_WORDS.iter().any(|start| key.starts_with(start)) {
            findings.other(format!("`{key}` changes"));
        }
    }
    for key in changes.fixed {
        if key.starts_with("policy.") || key.starts_with("issuers[") || key.starts_with("gateway.public_url")
        {
            findings.other(format!("`{key}` takes effect after a restart"));
        }
    }
}

fn freshness(old: &Config, new: &Config, findings: &mut Findings) {
    let (before, after) = (old.freshness, new.freshness);
    match (before.when_stale, after.when_stale) {
        (WhenStale::Deny, WhenStale::Allow) => {
            findings.allow("when_stale deny -> allow: requests while the policy is older than max_age");
        }
        (WhenStale::Allow, WhenStale::Deny) => {
            findings.deny("when_stale allow -> deny: requests while the policy is older than max_age");
        }
        (WhenStale::Deny, WhenStale::Deny) => findings.bound(
            "requests while the age of the policy is",
            &std::time::Duration::from_secs(before.max_age_s),
            &std::time::Duration::from_secs(after.max_age_s),
        ),
        (WhenStale::Allow, WhenStale::Allow) => {}
    }
}
