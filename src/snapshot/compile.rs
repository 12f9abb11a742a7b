//! From a snapshot to a policy, or the field that is wrong.

use super::records::SharedIds;
use super::records::compile_app;
use super::records::compile_issuer;
use super::records::compile_revocation;
use super::records::compile_source;
use super::records::compile_workspace;
use super::wire::FORMAT;
use super::wire::InvalidSnapshot;
use super::wire::Snapshot;
use super::wire::invalid;
use crate::domain::digest::ShortDigest;
use crate::domain::digest_map::DigestMap;
use crate::domain::policy::Freshness;
use crate::domain::policy::Policy;
use crate::domain::policy::TrustedIssuer;
use crate::domain::time::UnixSeconds;
use std::collections::HashSet;
use std::sync::Arc;

/// Compiles a snapshot into a policy. `outside` are the issuers that the operator's config adds.
///
/// # Errors
/// [`InvalidSnapshot`] names the first field that does not make sense; nothing is guessed or skipped.
pub fn compile(
    snapshot: &Snapshot,
    outside: &[TrustedIssuer],
    freshness: Freshness,
) -> Result<Policy, InvalidSnapshot> {
    if snapshot.format != FORMAT {
        return Err(invalid(
            "format",
            format!("is {}, and this build reads {FORMAT}", snapshot.format),
        ));
    }
    let own = snapshot.issuer.as_ref().map(compile_issuer).transpose()?;
    let issuers = join_issuers(own, outside)?;
    let mut ids = SharedIds::default();
    let sources = compile_all("sources", &snapshot.sources, |record| {
        compile_source(record, &mut ids)
    })?;
    let sources = sources.into_iter().map(|(key, source)| (key.0, Arc::new(source)));
    let sources = each_once(sources.collect()).map_err(|at| {
        invalid(
            format!("sources[{at}].write_key_digest"),
            "is that of another source, too",
        )
    })?;
    let apps = compile_all("apps", &snapshot.apps, |record| {
        compile_app(record, &issuers, &mut ids)
    })?;
    let apps = apps.into_iter().map(|app| (*app.id.digest(), Arc::new(app)));
    let apps = each_once(apps.collect())
        .map_err(|at| invalid(format!("apps[{at}].id"), "is that of another app, too"))?;
    let workspaces = compile_all("workspaces", &snapshot.workspaces, compile_workspace)?;
    let workspaces = workspaces.into_iter().map(|(id, moment)| (*id.digest(), moment));
    let workspaces = each_once(workspaces.collect()).map_err(|at| {
        invalid(
            format!("workspaces[{at}].id"),
            "is that of another workspace, too",
        )
    })?;
    let revoked = compile_all("revocations", &snapshot.revocations, compile_revocation)?;
    let revoked = DigestMap::collect(revoked.into_iter().map(|(token, until)| (token.0, until)));
    Ok(Policy {
        version: snapshot.version,
        confirmed_at: UnixSeconds(snapshot.issued_at),
        freshness,
        issuers,
        has_own_issuer: snapshot.issuer.is_some(),
        sources,
        apps,
        workspaces,
        revoked,
    })
}

/// Compiles a list; an error says which record it is about.
pub(crate) fn compile_all<'s, R, T>(
    list: &str,
    records: &'s [R],
    mut one: impl FnMut(&'s R) -> Result<T, InvalidSnapshot>,
) -> Result<Vec<T>, InvalidSnapshot> {
    let mut compiled = Vec::with_capacity(records.len());
    for (at, record) in records.iter().enumerate() {
        compiled.push(one(record).map_err(|error| within(list, at, error))?);
    }
    Ok(compiled)
}

/// A map of entries that have a key each, or which of them is the first to have another's.
pub(crate) fn each_once<V: Clone>(entries: Vec<(ShortDigest, V)>) -> Result<DigestMap<V>, usize> {
    let mut seen = HashSet::with_capacity(entries.len());
    match entries.iter().position(|(key, _)| !seen.insert(*key)) {
        None => Ok(DigestMap::collect(entries)),
        Some(at) => Err(at),
    }
}

pub(crate) fn within(list: &str, at: usize, error: InvalidSnapshot) -> InvalidSnapshot {
    InvalidSnapshot {
        field: format!("{list}[{at}].{}", error.field),
        problem: error.problem,
    }
}

/// Our own issuer first, then the outside ones; each name once.
pub(crate) fn join_issuers(
    own: Option<TrustedIssuer>,
    outside: &[TrustedIssuer],
) -> Result<Arc<[TrustedIssuer]>, InvalidSnapshot> {
    if let Some(own) = &own
        && outside.iter().any(|other| other.issuer == own.issuer)
    {
        return Err(invalid(
            "issuer.issuer",
            "is also configured under `issuers`; remove one of the two",
        ));
    }
    Ok(own.into_iter().chain(outside.iter().cloned()).collect())
}
