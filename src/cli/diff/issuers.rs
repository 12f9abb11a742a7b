//! Compares the outside issuers of two configs.

use super::findings::Findings;
use crate::config::{KeyOrigin, KeyPlace, OutsideIssuer};
use crate::domain::policy::AcceptedTypes;

pub(super) fn compare(old: &[OutsideIssuer], new: &[OutsideIssuer], findings: &mut Findings) {
    for issuer in new {
        match old.iter().find(|held| held.issuer == issuer.issuer) {
            Some(before) => changed(before, issuer, findings),
            None => findings.allow(format!(
                "issuer `{}` is added: tokens that it issues to apps of the policy",
                issuer.issuer
            )),
        }
    }
    for gone in old
        .iter()
        .filter(|held| !new.iter().any(|issuer| issuer.issuer == held.issuer))
    {
        findings.deny(format!("issuer `{}` is removed: its tokens", gone.issuer));
    }
}

fn changed(old: &OutsideIssuer, new: &OutsideIssuer, findings: &mut Findings) {
    let name = &new.issuer;
    findings.lists(&old.audiences, &new.audiences, |audience| {
        format!("issuer `{name}`: tokens for audience `{audience}`")
    });
    findings.lists(&old.algorithms, &new.algorithms, |algorithm| {
        format!("issuer `{name}`: tokens signed with {}", algorithm.as_str())
    });
    types(old, new, findings);
    findings.bound(
        &format!("issuer `{name}`: tokens whose times are off, in seconds,"),
        &old.leeway_s,
        &new.leeway_s,
    );
    match (old.lifetime_max_s, new.lifetime_max_s) {
        (None, Some(most)) => findings.deny(format!(
            "issuer `{name}`: tokens that live for more than {most} s"
        )),
        (Some(most), None) => findings.allow(format!(
            "issuer `{name}`: tokens that live for more than {most} s"
        )),
        (Some(old), Some(new)) => findings.bound(
            &format!("issuer `{name}`: lifetimes of tokens, in seconds,"),
            &old,
            &new,
        ),
        (None, None) => {}
    }
    if old.claims != new.claims {
        findings.other(format!(
            "issuer `{name}`: the claims that name app, scope, token and audience (`profile`, `claims`)"
        ));
    }
    let place = |issuer: &OutsideIssuer| match &issuer.keys {
        KeyOrigin::File(path) => path.display().to_string(),
        KeyOrigin::Uri(keys) => match &keys.place {
            KeyPlace::Uri(uri) => uri.to_string(),
            KeyPlace::Discovery => "its metadata".to_owned(),
        },
    };
    if place(old) != place(new) {
        findings.other(format!(
            "issuer `{name}`: its keys come from {} -> {}",
            place(old),
            place(new)
        ));
    }
}

fn types(old: &OutsideIssuer, new: &OutsideIssuer, findings: &mut Findings) {
    let listed = |types: &AcceptedTypes| match types {
        AcceptedTypes::Any => None,
        AcceptedTypes::Listed(types) => Some(types.clone()),
        AcceptedTypes::ListedOrNone(types) => Some(types.iter().cloned().chain([String::new()]).collect()),
    };
    let name = &new.issuer;
    let shown = |typ: &String| match typ.is_empty() {
        true => format!("issuer `{name}`: tokens without `typ`"),
        false => format!("issuer `{name}`: tokens with `typ: {typ}`"),
    };
    match (listed(&old.types), listed(&new.types)) {
        (Some(old), Some(new)) => findings.lists(&old, &new, shown),
        (Some(_), None) => findings.allow(format!("issuer `{name}`: tokens with any `typ`")),
        (None, Some(_)) => findings.deny(format!(
            "issuer `{name}`: tokens with another `typ` than those listed"
        )),
        (None, None) => {}
    }
}
