//! Compares two policies: sources, apps and revocations.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::Findings;
use crate::domain::policy::Enforcement;
use crate::snapshot::{AppRecord, Snapshot, SourceRecord};

pub(super) fn compare(old: &Snapshot, new: &Snapshot, findings: &mut Findings) {
    sources(old, new, findings);
    apps(old, new, findings);
    revocations(old, new, findings);
}

/// The pairs of two lists by id, in the order of ids.
fn pairs<'s, T>(old: &'s [T], new: &'s [T], id: impl Fn(&T) -> &str) -> Vec<(Option<&'s T>, Option<&'s T>)> {
    let mut pairs: BTreeMap<String, (Option<&T>, Option<&T>)> = BTreeMap::new();
    for one in old {
        pairs.entry(id(one).to_owned()).or_default().0 = Some(one);
    }
    for one in new {
        pairs.entry(id(one).to_owned()).or_default().1 = Some(one);
    }
    pairs.into_values().collect()
}

fn sources(old: &Snapshot, new: &Snapshot, findings: &mut Findings) {
    for pair in pairs(&old.sources, &new.sources, |source| &source.id) {
        match pair {
            (None, Some(source)) => findings.allow(format!(
                "source `{}` is added: {}",
                source.id,
                accepted(source)
            )),
            (Some(source), None) => findings.deny(format!(
                "source `{}` is removed: requests with its write key (an API with `unknown_sources: forward` forwards them)",
                source.id
            )),
            (Some(old), Some(new)) => changed_source(old, new, findings),
            (None, None) => {}
        }
    }
}

fn mode(source: &SourceRecord) -> Enforcement {
    Enforcement::parse(&source.enforcement).unwrap_or_default()
}

/// The requests that a source lets through.
fn accepted(source: &SourceRecord) -> String {
    match (mode(source), &source.app) {
        (Enforcement::Off, _) => "requests with its write key alone".to_owned(),
        (Enforcement::Observe, _) => "requests with its write key, judged and let through".to_owned(),
        (Enforcement::On, Some(app)) => format!("requests with a token of app `{app}`"),
        (Enforcement::On, None) => "no request, since it is connected to no app".to_owned(),
    }
}

fn changed_source(old: &SourceRecord, new: &SourceRecord, findings: &mut Findings) {
    let id = &new.id;
    if old.write_key_digest != new.write_key_digest {
        findings.allow(format!("source `{id}`: requests with its new write key"));
        findings.deny(format!("source `{id}`: requests with its earlier write key"));
    }
    let modes = format!(
        "enforcement of source `{id}`: {} -> {}",
        old.enforcement, new.enforcement
    );
    match (mode(old), mode(new)) {
        (before, after) if before == after => {}
        (_, Enforcement::On) => {
            findings.deny(format!(
                "{modes}: requests without a valid token of {}",
                app_of(new)
            ));
        }
        (Enforcement::On, _) => {
            findings.allow(format!(
                "{modes}: requests without a valid token of {}",
                app_of(old)
            ));
        }
        (Enforcement::Off, _) => {
            findings.other(format!("{modes}: requests are judged, and let through as before"));
        }
        (_, _) => findings.other(format!(
            "{modes}: requests are no longer judged, and let through as before"
        )),
    }
    if old.app != new.app {
        let apps = format!("source `{id}` connected to {} -> {}", app_of(old), app_of(new));
        match (mode(old), mode(new)) {
            (Enforcement::On, Enforcement::On) => {
                findings.deny(format!("{apps}: requests with a token of {}", app_of(old)));
                if new.app.is_some() {
                    findings.allow(format!("{apps}: requests with a token of {}", app_of(new)));
                }
            }
            _ => findings.other(apps),
        }
    }
    if old.workspace != new.workspace {
        findings.other(format!(
            "source `{id}` moves from workspace `{}` to `{}`",
            old.workspace, new.workspace
        ));
    }
}

fn app_of(source: &SourceRecord) -> String {
    match &source.app {
        Some(app) => format!("app `{app}`"),
        None => "no app".to_owned(),
    }
}

fn apps(old: &Snapshot, new: &Snapshot, findings: &mut Findings) {
    for pair in pairs(&old.apps, &new.apps, |app| &app.id) {
        match pair {
            (None, Some(app)) => findings.allow(format!(
                "app `{}` is added: its tokens, with scope `{}`",
                app.id,
                app.scopes.join(" ")
            )),
            (Some(app), None) => findings.deny(format!("app `{}` is removed: its tokens", app.id)),
            (Some(old), Some(new)) => changed_app(old, new, findings),
            (None, None) => {}
        }
    }
}

fn changed_app(old: &AppRecord, new: &AppRecord, findings: &mut Findings) {
    let id = &new.id;
    if old.issuer != new.issuer {
        findings.deny(format!("app `{id}`: its tokens of issuer `{}`", old.issuer));
        findings.allow(format!("app `{id}`: its tokens of issuer `{}`", new.issuer));
    }
    if old.workspace != new.workspace {
        findings.other(format!(
            "app `{id}` moves from workspace `{}` to `{}`",
            old.workspace, new.workspace
        ));
    }
    findings.lists(&old.scopes, &new.scopes, |scope| {
        format!("app `{id}`: its tokens where an API needs scope `{scope}`")
    });
    match (&old.keys, &new.keys) {
        (Some(old), Some(new)) => findings.lists(old, new, |key| {
            format!("app `{id}`: tokens that its key `{key}` requested")
        }),
        (None, Some(keys)) => findings.deny(format!(
            "app `{id}`: tokens that a key other than `{}` requested",
            keys.join("`, `")
        )),
        (Some(keys), None) => findings.allow(format!(
            "app `{id}`: tokens that a key other than `{}` requested",
            keys.join("`, `")
        )),
        (None, None) => {}
    }
    cutoff(
        &format!("app `{id}`: its tokens"),
        old.not_issued_before,
        new.not_issued_before,
        findings,
    );
    let keys: BTreeSet<&String> = old
        .keys_not_issued_before
        .keys()
        .chain(new.keys_not_issued_before.keys())
        .collect();
    for key in keys {
        let at = |app: &AppRecord| app.keys_not_issued_before.get(key).copied().unwrap_or_default();
        let what = format!("app `{id}`: tokens that its key `{key}` requested,");
        cutoff(&what, at(old), at(new), findings);
    }
}

fn cutoff(what: &str, old: u64, new: u64, findings: &mut Findings) {
    let shown = |at: u64| {
        let moment = i64::try_from(at)
            .ok()
            .and_then(|at| jiff::Timestamp::from_second(at).ok());
        moment.map_or_else(|| at.to_string(), |moment| moment.to_string())
    };
    if new > old {
        findings.deny(format!("{what} issued before {}", shown(new)));
    } else if new < old {
        findings.allow(format!("{what} issued before {}", shown(old)));
    }
}

fn revocations(old: &Snapshot, new: &Snapshot, findings: &mut Findings) {
    let listed = |snapshot: &Snapshot| -> BTreeSet<(String, String)> {
        let revocations = snapshot.revocations.iter();
        revocations
            .map(|one| (one.issuer.clone(), one.token_id.clone()))
            .collect()
    };
    let (old, new) = (listed(old), listed(new));
    let by_issuer = |tokens: Vec<&(String, String)>| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (issuer, _) in tokens {
            *counts.entry(issuer.clone()).or_default() += 1;
        }
        counts
    };
    for (issuer, count) in by_issuer(new.difference(&old).collect()) {
        findings.deny(format!("{count} tokens of issuer `{issuer}` that are revoked"));
    }
    for (issuer, count) in by_issuer(old.difference(&new).collect()) {
        findings.allow(format!(
            "{count} tokens of issuer `{issuer}` that are no longer revoked"
        ));
    }
}
