//! The seam: the wire form of what a gateway must know, and its compilation into a [`Policy`].
//!
//! A gateway is fed one [`Snapshot`] and then [`Changes`], version by version, whether the control plane
//! runs in the same process, elsewhere, or is a file. Nothing else passes from control to gateway. What
//! comes back is the version last installed.
//!
//! Compilation is total: a bad snapshot or change is an [`InvalidSnapshot`] that names the field, and
//! the policy in force stays.

mod key_set;
mod records;

pub use crate::snapshot::key_set::{ISSUER_KEYS_MAX, InvalidKeySet, Jwk, jwk, verifying_keys};

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::digest::ShortDigest;
use crate::domain::digest_map::DigestMap;
use crate::domain::ids::{AppId, TokenDigest, WriteKeyDigest};
use crate::domain::key::VerifyingKey;
use crate::domain::policy::{Freshness, Policy, TrustedIssuer};
use crate::domain::time::UnixSeconds;
use crate::snapshot::records::{
    SharedIds, compile_app, compile_issuer, compile_revocation, compile_source, compile_workspace,
};

/// The format this build writes and reads.
pub const FORMAT: u32 = 1;

/// What passes over the seam.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Update {
    /// Everything, as of one version.
    Snapshot(Box<Snapshot>),
    /// What one version changed against the version before it.
    Changes(Changes),
    /// The version is still the current one at this moment (Unix seconds).
    Confirmed { version: u64, at: u64 },
}

/// Everything a gateway must know, as of one version.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    pub format: u32,
    /// Rises by one with every change; never reused.
    pub version: u64,
    /// When the snapshot was true, Unix seconds.
    pub issued_at: u64,
    /// The control plane's own issuer; absent where tokens come from outside issuers only.
    pub issuer: Option<IssuerRecord>,
    pub apps: Vec<AppRecord>,
    /// The workspaces that there is something to say of. Left out while there are none, so that a gateway
    /// which does not know of them takes the snapshot, and refuses the one it could not enforce.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workspaces: Vec<WorkspaceRecord>,
    pub sources: Vec<SourceRecord>,
    pub revocations: Vec<RevocationRecord>,
}

/// What one version changed. The changes take effect together.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// The version that these changes lead to; they apply to the one before it and no other.
    pub version: u64,
    /// When the changes were made, Unix seconds.
    pub issued_at: u64,
    pub changes: Vec<Change>,
}

/// One change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    PutIssuer(IssuerRecord),
    PutApp(AppRecord),
    RemoveApp {
        id: String,
    },
    PutWorkspace(WorkspaceRecord),
    PutSource(SourceRecord),
    /// Also sent before a `PutSource` that gives a source another write key.
    RemoveSource {
        write_key_digest: String,
    },
    Revoke(RevocationRecord),
}

/// An issuer and the keys it signs with now, or signed with while tokens still live.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerRecord {
    pub issuer: String,
    pub audience: String,
    pub keys: Vec<Jwk>,
}

/// An OAuth app.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppRecord {
    pub id: String,
    pub workspace: String,
    /// The issuer whose tokens speak for the app.
    pub issuer: String,
    pub scopes: Vec<String>,
    /// Ids of the app's public keys; absent where the origin does not know them. The keys themselves stay
    /// with the control plane.
    #[serde(default)]
    pub keys: Option<Vec<String>>,
    /// Tokens issued before this moment (Unix seconds) are no longer accepted.
    #[serde(default)]
    pub not_issued_before: u64,
    /// The same for tokens that one key proved, by the key's id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keys_not_issued_before: BTreeMap<String, u64>,
}

/// A workspace whose tokens were ended all together.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceRecord {
    pub id: String,
    /// Tokens of any of its apps issued before this moment (Unix seconds) are no longer accepted.
    pub not_issued_before: u64,
}

/// A source.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRecord {
    pub id: String,
    pub workspace: String,
    /// [`digest_text`] of the write key: gateways never hold the key itself.
    pub write_key_digest: String,
    /// `off`, `observe` or `on`.
    pub enforcement: String,
    pub app: Option<String>,
}

/// One token that is no longer accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationRecord {
    pub issuer: String,
    pub token_id: String,
    /// When the token is no longer accepted anyhow, leeway included; the entry lives until then (Unix
    /// seconds).
    pub expires_at: u64,
}

/// A snapshot or change that cannot be installed: which field, and what is wrong with it.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{field}: {problem}")]
pub struct InvalidSnapshot {
    pub field: String,
    pub problem: String,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers hand over an error or a text alike"
)]
fn invalid(field: impl Into<String>, problem: impl ToString) -> InvalidSnapshot {
    InvalidSnapshot {
        field: field.into(),
        problem: problem.to_string(),
    }
}

/// The wire form of a write key's digest: base64url of 16 bytes.
#[must_use]
pub fn digest_text(digest: &WriteKeyDigest) -> String {
    URL_SAFE_NO_PAD.encode(digest.0.to_bytes())
}

fn parse_digest(text: &str) -> Option<WriteKeyDigest> {
    let bytes: [u8; 16] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    Some(WriteKeyDigest(ShortDigest::from_bytes(bytes)))
}

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
fn compile_all<'s, R, T>(
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
fn each_once<V: Clone>(entries: Vec<(ShortDigest, V)>) -> Result<DigestMap<V>, usize> {
    let mut seen = HashSet::with_capacity(entries.len());
    match entries.iter().position(|(key, _)| !seen.insert(*key)) {
        None => Ok(DigestMap::collect(entries)),
        Some(at) => Err(at),
    }
}

fn within(list: &str, at: usize, error: InvalidSnapshot) -> InvalidSnapshot {
    InvalidSnapshot {
        field: format!("{list}[{at}].{}", error.field),
        problem: error.problem,
    }
}

/// Our own issuer first, then the outside ones; each name once.
fn join_issuers(
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

fn apply_one(policy: &mut Policy, change: &Change) -> Result<(), InvalidSnapshot> {
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
pub fn with_issuer_keys(policy: &Policy, issuer: &str, keys: &Arc<[VerifyingKey]>) -> Policy {
    let mut next = policy.clone();
    next.issuers = policy
        .issuers
        .iter()
        .cloned()
        .map(|mut held| {
            if &*held.issuer == issuer {
                held.keys = Some(Arc::clone(keys));
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

/// Tolerated difference, in seconds, between the clocks of the control plane and of its gateways.
pub const OWN_LEEWAY_S: u64 = 5;
