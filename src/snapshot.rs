//! The seam: the wire form of what a gateway must know, and its compilation into a [`Policy`].
//!
//! A gateway is fed one [`Snapshot`] and then [`Changes`], version by version, whether the control plane
//! runs in the same process, elsewhere, or is a file. Nothing else passes from control to gateway. What
//! comes back is the version last installed.
//!
//! Compilation is total: a bad snapshot or change is an [`InvalidSnapshot`] that names the field, and
//! the policy in force stays.

mod key_set;

pub use key_set::{ISSUER_KEYS_MAX, InvalidKeySet, Jwk, jwk, verifying_keys};

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use thiserror::Error;

use crate::domain::access_token::TOKEN_ID_BYTES_MAX;
use crate::domain::digest::ShortDigest;
use crate::domain::digest_map::DigestMap;
use crate::domain::ids::{
    AppId, Audience, InvalidId, KeyId, SourceId, TokenDigest, WorkspaceId, WriteKeyDigest,
};
use crate::domain::key::{Algorithm, VerifyingKey};
use crate::domain::policy::{AcceptedTypes, App, Enforcement, Freshness, Policy, Source, TrustedIssuer};
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::time::{TokenLifetime, UnixSeconds};

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
    let mut sources = DigestMap::default();
    for (at, record) in snapshot.sources.iter().enumerate() {
        let (key, source) = compile_source(record).map_err(|error| within("sources", at, error))?;
        if sources.insert(key.0, Arc::new(source)).is_some() {
            return Err(invalid(
                format!("sources[{at}].write_key_digest"),
                "is that of another source, too",
            ));
        }
    }
    let mut apps = DigestMap::default();
    for (at, record) in snapshot.apps.iter().enumerate() {
        let app = compile_app(record, &issuers).map_err(|error| within("apps", at, error))?;
        if apps.insert(*app.id.digest(), Arc::new(app)).is_some() {
            return Err(invalid(format!("apps[{at}].id"), "is that of another app, too"));
        }
    }
    let mut workspaces = DigestMap::default();
    for (at, record) in snapshot.workspaces.iter().enumerate() {
        let (id, moment) = compile_workspace(record).map_err(|error| within("workspaces", at, error))?;
        if workspaces.insert(*id.digest(), moment).is_some() {
            return Err(invalid(
                format!("workspaces[{at}].id"),
                "is that of another workspace, too",
            ));
        }
    }
    let mut revoked = DigestMap::default();
    for (at, record) in snapshot.revocations.iter().enumerate() {
        let (token, until) = compile_revocation(record).map_err(|error| within("revocations", at, error))?;
        revoked.insert(token.0, until);
    }
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
            let app = compile_app(record, &policy.issuers)?;
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
            let (key, source) = compile_source(record)?;
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

fn compile_issuer(record: &IssuerRecord) -> Result<TrustedIssuer, InvalidSnapshot> {
    if record.issuer.is_empty() {
        return Err(invalid("issuer", "has no name"));
    }
    let keys = verifying_keys(&record.keys, &Algorithm::ALL)
        .map_err(|error| invalid("issuer.keys", error.problem))?;
    Ok(TrustedIssuer {
        issuer: Arc::from(record.issuer.as_str()),
        audiences: vec![
            Audience::parse(&record.audience).map_err(|error| invalid("issuer.audience", error))?,
        ],
        types: AcceptedTypes::Listed(vec!["at+jwt".to_owned()]),
        leeway_s: OWN_LEEWAY_S,
        lifetime_max_s: Some(TokenLifetime::ThirtyDays.seconds()),
        keys: Some(Arc::from(keys)),
    })
}

/// Tolerated difference, in seconds, between the clocks of the control plane and of its gateways.
pub const OWN_LEEWAY_S: u64 = 5;

/// `issuers` lends its texts, so that a million apps of one issuer point at one text.
fn compile_app(record: &AppRecord, issuers: &[TrustedIssuer]) -> Result<App, InvalidSnapshot> {
    let key_ids = |ids: &Vec<String>| {
        ids.iter()
            .map(|id| KeyId::parse(id))
            .collect::<Result<SmallVec<_>, _>>()
    };
    let keys = record
        .keys
        .as_ref()
        .map(key_ids)
        .transpose()
        .map_err(|error| invalid("keys", error))?;
    let keys_not_issued_before: Result<Box<[_]>, _> = record
        .keys_not_issued_before
        .iter()
        .map(|(id, moment)| Ok((KeyId::parse(id)?, UnixSeconds(*moment))))
        .collect();
    let known = issuers.iter().find(|known| *known.issuer == *record.issuer);
    let scopes: Result<ScopeSet, _> = record.scopes.iter().map(|scope| Scope::parse(scope)).collect();
    Ok(App {
        id: AppId::parse(&record.id).map_err(|error| invalid("id", error))?,
        workspace: WorkspaceId::parse(&record.workspace).map_err(|error| invalid("workspace", error))?,
        issuer: known.map_or_else(
            || Arc::from(record.issuer.as_str()),
            |known| Arc::clone(&known.issuer),
        ),
        scopes: scopes.map_err(|error| invalid("scopes", error))?,
        keys,
        not_issued_before: UnixSeconds(record.not_issued_before),
        keys_not_issued_before: keys_not_issued_before
            .map_err(|error: InvalidId| invalid("keys_not_issued_before", error))?,
    })
}

fn compile_workspace(record: &WorkspaceRecord) -> Result<(WorkspaceId, UnixSeconds), InvalidSnapshot> {
    let id = WorkspaceId::parse(&record.id).map_err(|error| invalid("id", error))?;
    Ok((id, UnixSeconds(record.not_issued_before)))
}

fn compile_source(record: &SourceRecord) -> Result<(WriteKeyDigest, Source), InvalidSnapshot> {
    let key =
        parse_digest(&record.write_key_digest).ok_or_else(|| invalid("write_key_digest", "is no digest"))?;
    let enforcement = Enforcement::parse(&record.enforcement)
        .ok_or_else(|| invalid("enforcement", "is none of `off`, `observe`, `on`"))?;
    let connected_app = record.app.as_deref().map(AppId::parse).transpose();
    let source = Source {
        id: SourceId::parse(&record.id).map_err(|error| invalid("id", error))?,
        workspace: WorkspaceId::parse(&record.workspace).map_err(|error| invalid("workspace", error))?,
        enforcement,
        connected_app: connected_app.map_err(|error| invalid("app", error))?,
    };
    Ok((key, source))
}

fn compile_revocation(record: &RevocationRecord) -> Result<(TokenDigest, UnixSeconds), InvalidSnapshot> {
    if record.token_id.is_empty() || record.token_id.len() > TOKEN_ID_BYTES_MAX {
        return Err(invalid("token_id", "is empty or too long"));
    }
    Ok((
        TokenDigest::of(&record.issuer, &record.token_id),
        UnixSeconds(record.expires_at),
    ))
}
