//! Changes applied to a policy.

use super::compile::join_issuers;
use super::compile::within;
use super::records::SharedIds;
use super::records::compile_app;
use super::records::compile_issuer;
use super::records::compile_revocation;
use super::records::compile_source;
use super::records::compile_workspace;
use super::wire::Change;
use super::wire::Changes;
use super::wire::InvalidSnapshot;
use super::wire::invalid;
use super::wire::parse_digest;
use crate::domain::ids::AppId;
use crate::domain::ids::Audience;
use crate::domain::ids::TokenDigest;
use crate::domain::issuer_keys::IssuerKeys;
use crate::domain::policy::Policy;
use crate::domain::time::UnixSeconds;
use std::sync::Arc;

/// Applies the changes of the next version to a policy. The old policy stays what it was.
///
/// # Errors
/// [`InvalidSnapshot`] when the changes are not those of the version after `policy`'s (ask for a new
/// snapshot then), or a record does not make sense; none of them is applied.
pub fn apply(policy: &Policy, changes: &Changes) -> Result<Policy, InvalidSnapshot> {
    if policy.version.checked_add(1) != Some(changes.version) {
        return Err(invalid(
            "version",
            format!("is {}, after {}", changes.version, policy.version),
        ));
    }
    let mut next = policy.clone();
    for (at, change) in changes.changes.iter().enumerate() {
        apply_one(&mut next, change).map_err(|error| within("changes", at, error))?;
    }
    next.version = changes.version;
    next.confirmed_at = next.confirmed_at.max(UnixSeconds(changes.issued_at));
    Ok(next)
}

/// The same policy, with `audience` among the audiences of the control plane's issuer: the gateway's public URL, for which
/// clients may request tokens (RFC 8707).
#[must_use]
pub fn with_own_audience(mut policy: Policy, audience: &Audience) -> Policy {
    let own = policy.issuers.first().filter(|_| policy.has_own_issuer);
    if own.is_some_and(|own| !own.audiences.contains(audience)) {
        let mut issuers = policy.issuers.to_vec();
        if let Some(own) = issuers.first_mut() {
            own.audiences.push(audience.clone());
        }
        policy.issuers = issuers.into();
    }
    policy
}

pub(crate) fn apply_one(policy: &mut Policy, change: &Change) -> Result<(), InvalidSnapshot> {
    match change {
        Change::PutIssuer(record) => {
            let own = compile_issuer(record)?;
            let outside = policy
                .issuers
                .get(usize::from(policy.has_own_issuer)..)
                .unwrap_or_default();
            policy.issuers = join_issuers(Some(own), outside)?;
            policy.has_own_issuer = true;
        }
        Change::PutApp(record) => {
            let app = compile_app(record, &policy.issuers, &mut SharedIds::default())?;
            policy.apps.insert(*app.id.digest(), Arc::new(app));
        }
        Change::RemoveApp { id } => {
            policy
                .apps
                .remove(AppId::parse(id).map_err(|error| invalid("id", error))?.digest());
        }
        Change::PutWorkspace(record) => {
            let (id, moment) = compile_workspace(record)?;
            policy.workspaces.insert(*id.digest(), moment);
        }
        Change::PutSource(record) => {
            let (key, source) = compile_source(record, &mut SharedIds::default())?;
            if policy.source(&key).is_some_and(|held| held.id != source.id) {
                return Err(invalid("write_key_digest", "is that of another source"));
            }
            policy.sources.insert(key.0, Arc::new(source));
        }
        Change::RemoveSource { write_key_digest } => {
            let key =
                parse_digest(write_key_digest).ok_or_else(|| invalid("write_key_digest", "is no digest"))?;
            policy.sources.remove(&key.0);
        }
        Change::Revoke(record) => {
            let (token, until) = compile_revocation(record)?;
            policy.revoked.insert(token.0, until);
        }
    }
    Ok(())
}

/// The same policy, known to be current at `at`.
#[must_use]
pub fn confirm(policy: &Policy, at: UnixSeconds) -> Policy {
    let mut next = policy.clone();
    next.confirmed_at = next.confirmed_at.max(at);
    next
}

/// The same policy with another set of keys for one outside issuer.
#[must_use]
pub fn with_issuer_keys(policy: &Policy, issuer: &str, keys: &IssuerKeys) -> Policy {
    let mut next = policy.clone();
    next.issuers = policy
        .issuers
        .iter()
        .cloned()
        .map(|mut held| {
            if &*held.issuer == issuer {
                held.keys = Some(keys.clone());
            }
            held
        })
        .collect();
    next
}

/// The same policy without these revocations, whose tokens have expired by themselves.
#[must_use]
pub fn without_revocations(policy: &Policy, expired: &[TokenDigest]) -> Policy {
    let mut next = policy.clone();
    for token in expired {
        next.revoked.remove(&token.0);
    }
    next
}

/// The same policy, confirmed no later than at `now`: a moment that is still to come would keep it fresh for as long.
#[must_use]
pub fn not_confirmed_after(mut policy: Policy, now: UnixSeconds) -> Policy {
    policy.confirmed_at = policy.confirmed_at.min(now);
    policy
}

/// The same policy after the clock that its age is measured by was set ahead by `step_s` seconds, or back.
#[must_use]
pub fn with_clock_step(policy: &Policy, step_s: i64) -> Policy {
    let mut next = policy.clone();
    next.confirmed_at = match step_s {
        0.. => next.confirmed_at.plus(step_s.unsigned_abs()),
        _ => next.confirmed_at.minus(step_s.unsigned_abs()),
    };
    next
}
