//! The policy: immutable indexes that answer a decision's questions.
//!
//! INVARIANT: a `Policy` never changes. A change makes a new one that shares all it did not touch (the
//! maps are persistent), so that one revocation among a million costs microseconds, a decision
//! that is under way keeps the version it began with, and no decision ever waits.

use std::sync::Arc;

use smallvec::SmallVec;

pub use super::claim_names::AcceptedTypes;
use super::claim_names::ClaimNames;
use super::digest_map::DigestMap;
use super::ids::{AppId, Audience, KeyId, SourceId, TokenDigest, WorkspaceId, WriteKeyDigest};
use super::issuer_keys::IssuerKeys;
use super::key::Thumbprint;
use super::scope::ScopeSet;
use super::time::UnixSeconds;

/// What enforcement does with a source's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// No token is needed; the write key alone lets a request through.
    #[default]
    Off,
    /// Requests are judged and counted as with `On`, and let through all the same.
    Observe,
    /// A valid token of the connected app is needed.
    On,
}

impl Enforcement {
    /// The name in configs, the API and the console.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::On => "on",
        }
    }

    /// The mode with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Off, Self::Observe, Self::On]
            .into_iter()
            .find(|mode| mode.as_str() == name)
    }
}

/// A source as a decision needs it.
///
/// What a decision compares stands first, in the cache line that holds the reference count, too: among a
/// million sources each line is a fetch from memory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Source {
    /// The app whose tokens may send to this source.
    pub connected_app: Option<AppId>,
    pub enforcement: Enforcement,
    pub id: SourceId,
    pub workspace: WorkspaceId,
}

/// An OAuth app as a decision needs it; what it compares stands first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct App {
    /// The issuer that may speak for this app. Another trusted issuer that mints a token with this
    /// app's id gets nothing.
    pub issuer: Arc<str>,
    /// What tokens of this app may do now; a token's scope counts only as far as the app still has it.
    pub scopes: ScopeSet,
    /// The public keys the app has now; a token that another key proved is no longer accepted. `None`
    /// where the origin of the policy does not know them.
    pub keys: Option<SmallVec<[KeyId; 2]>>,
    /// Tokens issued before this moment are no longer accepted.
    pub not_issued_before: UnixSeconds,
    pub id: AppId,
    pub workspace: WorkspaceId,
    /// Of keys whose tokens were ended while the key stayed: tokens that the key proved before this moment
    /// are no longer accepted. Nearly always empty.
    pub keys_not_issued_before: Box<[(KeyId, UnixSeconds)]>,
}

impl App {
    /// Whether tokens that `key` proved at `issued_at` were ended, with the app's or with the key's own.
    #[must_use]
    pub fn has_ended(&self, key: Option<&KeyId>, issued_at: UnixSeconds) -> bool {
        let Some(key) = key else {
            return issued_at < self.not_issued_before;
        };
        let is_gone = self.keys.as_ref().is_some_and(|held| !held.contains(key));
        let mut of_keys = self.keys_not_issued_before.iter();
        is_gone
            || issued_at < self.not_issued_before
            || of_keys.any(|(held, moment)| held == key && issued_at < *moment)
    }
}

/// An issuer whose tokens are accepted, with its keys.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    pub issuer: Arc<str>,
    /// A token's `aud` must have one of these.
    pub audiences: Vec<Audience>,
    pub types: AcceptedTypes,
    /// Where its tokens name the app, the scope, the id and the audience.
    pub claims: ClaimNames,
    /// Tolerated clock difference in seconds, applied alike to `exp`, `nbf` and `iat`.
    pub leeway_s: u64,
    /// The longest `exp - iat` accepted, in seconds; a token that lives longer is refused.
    pub lifetime_max_s: Option<u64>,
    /// The keys, or `None` until the first key set was fetched.
    pub keys: Option<IssuerKeys>,
}

impl TrustedIssuer {
    /// Whether the key with this thumbprint is still one of the issuer's.
    #[must_use]
    pub fn trusts(&self, thumbprint: Thumbprint) -> bool {
        self.keys.as_ref().is_some_and(|keys| keys.trusts(thumbprint))
    }
}

/// What a decision does when the policy has not been confirmed for longer than `max_age_s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenStale {
    Deny,
    Allow,
}

/// How old a policy may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    pub max_age_s: u64,
    pub when_stale: WhenStale,
}

/// Everything a decision may know about the world: who may send what, as of one version.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) version: u64,
    pub(crate) confirmed_at: UnixSeconds,
    pub(crate) freshness: Freshness,
    pub(crate) issuers: Arc<[TrustedIssuer]>,
    /// Whether the first of the issuers is the control plane's own, which changes replace.
    pub(crate) has_own_issuer: bool,
    /// By write key.
    pub(crate) sources: DigestMap<Arc<Source>>,
    /// By app id.
    pub(crate) apps: DigestMap<Arc<App>>,
    /// By workspace, where all its tokens were ended: those issued before the moment are no longer accepted.
    pub(crate) workspaces: DigestMap<UnixSeconds>,
    /// By issuer and token id; the moment is when the token would have expired.
    pub(crate) revoked: DigestMap<UnixSeconds>,
}

impl Policy {
    /// Whether `issuer`, which is one of this policy's, is the control plane's own.
    pub(crate) fn is_own(&self, issuer: &TrustedIssuer) -> bool {
        let own = self.issuers.first().filter(|_| self.has_own_issuer);
        own.is_some_and(|own| own.issuer == issuer.issuer)
    }

    /// A policy that knows nothing and therefore denies everything that needs to be known.
    #[must_use]
    pub fn empty(freshness: Freshness) -> Self {
        Self {
            version: 0,
            confirmed_at: UnixSeconds(0),
            freshness,
            issuers: Arc::from(Vec::new()),
            has_own_issuer: false,
            sources: DigestMap::default(),
            apps: DigestMap::default(),
            workspaces: DigestMap::default(),
            revoked: DigestMap::default(),
        }
    }

    /// The version of the snapshot or change that this policy came from.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// When the origin last said that this version is the current one.
    #[must_use]
    pub fn confirmed_at(&self) -> UnixSeconds {
        self.confirmed_at
    }

    /// Whether the policy is too old to be relied on, and the operator wants that to deny.
    #[must_use]
    pub fn is_stale(&self, now: UnixSeconds) -> bool {
        self.freshness.when_stale == WhenStale::Deny
            && now.since(self.confirmed_at) > self.freshness.max_age_s
    }

    /// The trusted issuers.
    #[must_use]
    pub fn issuers(&self) -> &[TrustedIssuer] {
        &self.issuers
    }

    /// The trusted issuer with exactly this name (RFC 7519 section 4.1.1: compared case-sensitively).
    #[must_use]
    pub fn issuer(&self, name: &str) -> Option<&TrustedIssuer> {
        self.issuers.iter().find(|trusted| &*trusted.issuer == name)
    }

    /// The source that this write key names.
    #[must_use]
    pub fn source(&self, key: &WriteKeyDigest) -> Option<&Arc<Source>> {
        self.sources.get(&key.0)
    }

    /// The app with this id.
    #[must_use]
    pub fn app(&self, id: &AppId) -> Option<&Arc<App>> {
        self.apps.get(id.digest())
    }

    /// Whether the tokens that this workspace's apps got at `issued_at` were ended all together.
    #[must_use]
    pub fn has_workspace_ended(&self, workspace: &WorkspaceId, issued_at: UnixSeconds) -> bool {
        self.workspaces
            .get(workspace.digest())
            .is_some_and(|moment| issued_at < *moment)
    }

    /// Whether this token is on the revocation list.
    #[must_use]
    pub fn is_revoked(&self, token: &TokenDigest) -> bool {
        self.revoked.contains(&token.0)
    }

    /// How many revocations are held.
    #[must_use]
    pub fn revocations(&self) -> usize {
        self.revoked.len()
    }
}
