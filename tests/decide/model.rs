//! A world as plain data: issuers, apps, sources and revocations by their names, and its way into a
//! [`Policy`]; a decision as a value that can be compared.

use std::collections::BTreeMap;

use portcullis::domain::claim_names::ClaimNames;
use portcullis::domain::decision::{Decision, DenyReason, Mode};
use portcullis::domain::ids::{Audience, WriteKeyDigest};
use portcullis::domain::policy::{AcceptedTypes, Freshness, Policy, TrustedIssuer, WhenStale};
use portcullis::domain::time::UnixSeconds;
use portcullis::snapshot;
use portcullis::snapshot::{
    AppRecord, FORMAT, IssuerRecord, OWN_LEEWAY_S, RevocationRecord, Snapshot, SourceRecord, WorkspaceRecord,
    digest_text,
};
use serde::Deserialize;

use super::signers::signer;

/// What a policy is made of.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    pub confirmed_at: u64,
    pub max_age_s: u64,
    /// `deny` or `allow`.
    pub when_stale: String,
    pub issuers: BTreeMap<String, Issuer>,
    pub apps: BTreeMap<String, App>,
    /// Moments before which a workspace's tokens were ended.
    #[serde(default)]
    pub workspaces: BTreeMap<String, u64>,
    /// By write key.
    pub sources: BTreeMap<String, Source>,
    pub revoked: Vec<Revoked>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// Whether it is the control plane's own, which comes with the snapshot.
    #[serde(default)]
    pub bundled: bool,
    pub audiences: Vec<String>,
    pub leeway_s: u64,
    /// Names of signers; nothing while the keys could not be had.
    pub keys: Vec<String>,
    #[serde(default = "yes")]
    pub keys_fetched: bool,
    #[serde(default)]
    pub lifetime_max_s: Option<u64>,
    #[serde(default)]
    pub any_type: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    pub issuer: String,
    pub scopes: Vec<String>,
    /// Key ids.
    pub keys: Vec<String>,
    #[serde(default)]
    pub not_issued_before: u64,
    /// By key id.
    #[serde(default)]
    pub keys_not_issued_before: BTreeMap<String, u64>,
    #[serde(default = "workspace")]
    pub workspace: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub id: String,
    pub enforcement: String,
    pub app: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    pub issuer: String,
    pub token_id: String,
}

fn yes() -> bool {
    true
}

const WORKSPACE: &str = "ws-1";

fn workspace() -> String {
    WORKSPACE.to_owned()
}

impl World {
    /// The real policy of this world.
    pub fn policy(&self) -> Policy {
        snapshot::compile(&self.snapshot(1), &self.outside(), self.freshness()).unwrap()
    }

    pub fn freshness(&self) -> Freshness {
        Freshness {
            max_age_s: self.max_age_s,
            when_stale: if self.when_stale == "allow" {
                WhenStale::Allow
            } else {
                WhenStale::Deny
            },
        }
    }

    /// The issuers that are not bundled.
    pub fn outside(&self) -> Vec<TrustedIssuer> {
        self.issuers
            .iter()
            .filter(|(_, issuer)| !issuer.bundled)
            .map(|(name, issuer)| issuer.trusted(name))
            .collect()
    }

    pub fn snapshot(&self, version: u64) -> Snapshot {
        let bundled = self.issuers.iter().find(|(_, issuer)| issuer.bundled);
        Snapshot {
            format: FORMAT,
            version,
            issued_at: self.confirmed_at,
            issuer: bundled.map(|(name, issuer)| issuer.record(name)),
            apps: self.apps.iter().map(|(id, app)| app.record(id)).collect(),
            workspaces: self.workspaces.iter().map(workspace_record).collect(),
            sources: self
                .sources
                .iter()
                .map(|(key, source)| source.record(key))
                .collect(),
            revocations: self.revoked.iter().map(Revoked::record).collect(),
        }
    }
}

pub fn workspace_record((id, not_issued_before): (&String, &u64)) -> WorkspaceRecord {
    WorkspaceRecord {
        id: id.clone(),
        not_issued_before: *not_issued_before,
    }
}

impl Issuer {
    pub fn trusted(&self, name: &str) -> TrustedIssuer {
        let keys = self.keys.iter().map(|key| signer(key).verifying_key());
        let keys = keys.collect::<Vec<_>>().into();
        TrustedIssuer {
            issuer: name.into(),
            audiences: self
                .audiences
                .iter()
                .map(|audience| Audience::parse(audience).unwrap())
                .collect(),
            types: if self.any_type {
                AcceptedTypes::Any
            } else {
                AcceptedTypes::Listed(vec!["at+jwt".to_owned()])
            },
            claims: ClaimNames::default(),
            leeway_s: self.leeway_s,
            lifetime_max_s: self.lifetime_max_s,
            keys: self.keys_fetched.then_some(keys),
        }
    }

    pub fn record(&self, name: &str) -> IssuerRecord {
        // What a snapshot cannot say of the bundled issuer must not be said here either.
        assert_eq!(
            self.leeway_s, OWN_LEEWAY_S,
            "the bundled issuer's leeway is fixed"
        );
        let [audience] = self.audiences.as_slice() else {
            panic!("the bundled issuer has one audience");
        };
        IssuerRecord {
            issuer: name.to_owned(),
            audience: audience.clone(),
            keys: self.keys.iter().map(|key| signer(key).jwk()).collect(),
        }
    }
}

impl App {
    pub fn record(&self, id: &str) -> AppRecord {
        AppRecord {
            id: id.to_owned(),
            workspace: self.workspace.clone(),
            issuer: self.issuer.clone(),
            scopes: self.scopes.clone(),
            keys: Some(self.keys.clone()),
            not_issued_before: self.not_issued_before,
            keys_not_issued_before: self.keys_not_issued_before.clone(),
        }
    }
}

impl Source {
    pub fn record(&self, write_key: &str) -> SourceRecord {
        SourceRecord {
            id: self.id.clone(),
            workspace: WORKSPACE.to_owned(),
            write_key_digest: digest_text(&WriteKeyDigest::of(write_key.as_bytes())),
            enforcement: self.enforcement.clone(),
            app: self.app.clone(),
        }
    }
}

impl Revoked {
    pub fn record(&self) -> RevocationRecord {
        RevocationRecord {
            issuer: self.issuer.clone(),
            token_id: self.token_id.clone(),
            expires_at: UnixSeconds(u64::MAX).0,
        }
    }
}

/// A decision that can be compared.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Permit {
        mode: Mode,
        source: Option<String>,
        app: Option<String>,
        would_deny: Option<DenyReason>,
    },
    Deny(DenyReason),
}

impl Answer {
    pub fn is_permit(&self) -> bool {
        matches!(self, Self::Permit { .. })
    }
}

impl From<Decision> for Answer {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Deny(reason) => Self::Deny(reason),
            Decision::Allow(permit) => Self::Permit {
                mode: permit.mode(),
                source: permit.source().map(|source| source.id.to_string()),
                app: permit.app().map(|app| app.id.to_string()),
                would_deny: permit.would_deny(),
            },
        }
    }
}

/// The reason with this word.
pub fn reason(word: &str) -> DenyReason {
    *DenyReason::ALL
        .iter()
        .find(|reason| reason.as_str() == word)
        .unwrap_or_else(|| panic!("`{word}` is no deny reason"))
}
