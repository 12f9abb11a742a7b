//! `policy.source: file`: sources, apps, connections and enforcement in one YAML file, as a snapshot.
//!
//! The file goes through the same seam as everything else: it becomes a [`Snapshot`], and what cannot
//! become a valid one is refused with its place in the file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_saphyr::{Location, Spanned};

use super::check::{Check, parse, read};
use super::file::{PolicyAppFile, PolicyDocument, PolicySourceFile, RevokedFile, SecretText};
use super::outside_issuer::OutsideIssuer;
use super::problem::{ConfigError, Problem};
use super::shown::shown;
use crate::domain::ids::{AppId, InvalidId, KeyId, SourceId, WorkspaceId, WriteKey};
use crate::domain::jws::CompactJws;
use crate::domain::policy::Enforcement;
use crate::domain::scope::Scope;
use crate::domain::time::UnixSeconds;
use crate::snapshot::{AppRecord, FORMAT, RevocationRecord, Snapshot, SourceRecord, digest_text};

/// The largest policy file read, in bytes: about 300,000 sources.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The longest pasted token read, in bytes: as long as `limits.token_bytes` may be.
const PASTED_BYTES_MAX: usize = 1 << 20;

/// Reads a policy file as the snapshot of `version`.
///
/// # Errors
/// [`ConfigError`] with every problem found, each with its place and a hint.
pub fn load_policy(
    path: &Path,
    issuers: &[OutsideIssuer],
    version: u64,
    now: UnixSeconds,
) -> Result<Snapshot, ConfigError> {
    let text = read(path, FILE_BYTES_MAX)?;
    // An empty file is one that is being written at this moment.
    if text.trim().is_empty() {
        return Err(ConfigError {
            problems: vec![Problem {
                file: path.to_owned(),
                place: None,
                message: "is empty".to_owned(),
                hint: Some("write `apps:` and `sources:`; `sources: []` where there are none".to_owned()),
            }],
        });
    }
    let document: PolicyDocument = parse(path, &text, "the README shows what a policy file looks like")?;
    let mut check = Check::new(path);
    let snapshot = check.policy(&document, issuers, version, now);
    check.finish(Some(snapshot))
}

impl Check<'_> {
    fn policy(
        &mut self,
        document: &PolicyDocument,
        issuers: &[OutsideIssuer],
        version: u64,
        now: UnixSeconds,
    ) -> Snapshot {
        let mut app_ids = BTreeMap::new();
        let mut apps = Vec::new();
        for app in &document.apps {
            if app_ids.insert(app.id.value.as_str(), app).is_some() {
                self.problem(
                    app.id.referenced,
                    format!("the app `{}` stands here twice", app.id.value),
                    "keep one",
                );
            }
            apps.extend(self.policy_app(app, issuers));
        }
        let mut keys = BTreeSet::new();
        let mut sources = Vec::new();
        for source in &document.sources {
            if let Some(record) = self.policy_source(source, &app_ids) {
                if !keys.insert(record.write_key_digest.clone()) {
                    self.problem(
                        source.write_key.referenced,
                        "another source has this write key, too",
                        "give each source its own",
                    );
                }
                sources.push(record);
            }
        }
        let revoked = document.revoked.iter();
        let revocations: Vec<_> = revoked.filter_map(|entry| self.revoked(entry, issuers)).collect();
        let revocations = revocations
            .into_iter()
            .filter(|record| record.expires_at > now.0)
            .collect();
        Snapshot {
            format: FORMAT,
            version,
            issued_at: now.0,
            issuer: None,
            apps,
            workspaces: Vec::new(),
            sources,
            revocations,
        }
    }

    fn revoked(
        &mut self,
        entry: &Spanned<RevokedFile>,
        issuers: &[OutsideIssuer],
    ) -> Option<RevocationRecord> {
        let RevokedFile {
            token,
            issuer,
            jti,
            expires_at,
        } = &entry.value;
        let record = match (token, issuer, jti, expires_at) {
            (Some(token), None, None, None) => self.pasted(token, issuers)?,
            (None, Some(issuer), Some(jti), Some(expires_at)) => RevocationRecord {
                issuer: issuer.value.clone(),
                token_id: jti.value.clone(),
                expires_at: expires_at.value,
            },
            _ => {
                self.problem(
                    entry.referenced,
                    "a revoked token is named by itself, or by issuer, id and expiry",
                    "write {token: \"...\"}, or {issuer: ..., jti: ..., expires_at: ...}",
                );
                return None;
            }
        };
        // A token is accepted until its issuer's leeway is over, so its revocation must hold as long.
        let mut known = issuers.iter().filter(|known| known.issuer == record.issuer);
        Some(RevocationRecord {
            expires_at: record
                .expires_at
                .saturating_add(known.next().map_or(0, |known| known.leeway_s)),
            ..record
        })
    }

    /// The revocation of a complete token. Its signature is not checked: a token that no issuer signed revokes nothing.
    fn pasted(&mut self, token: &Spanned<SecretText>, issuers: &[OutsideIssuer]) -> Option<RevocationRecord> {
        let read = |token: &str| {
            let jws =
                CompactJws::parse_at_most(token, PASTED_BYTES_MAX).map_err(|error| error.to_string())?;
            let claims = jws.unverified_claims().map_err(|error| error.to_string())?;
            let named = claims.text("iss").ok();
            let issuer = issuers.iter().find(|known| Some(known.issuer.as_str()) == named);
            let issuer = issuer.ok_or("the token's issuer is not configured")?;
            let id = issuer.claims.id_of(&claims, jws.signing_input());
            let expires_at = claims.date("exp").map_err(|error| format!("the token {error}"))?;
            Ok::<_, String>(RevocationRecord {
                issuer: issuer.issuer.clone(),
                token_id: id.map_err(|error| error.to_string())?.into(),
                expires_at: expires_at.0,
            })
        };
        read(token.value.expose().trim())
            .map_err(|problem| {
                self.problem(
                    token.referenced,
                    problem,
                    "paste the complete token of an issuer under `issuers:` of the config",
                );
            })
            .ok()
    }

    fn policy_app(&mut self, app: &PolicyAppFile, issuers: &[OutsideIssuer]) -> Option<AppRecord> {
        self.id(&app.id, AppId::parse)?;
        self.id(&app.workspace, WorkspaceId::parse)?;
        let mut scopes = Vec::new();
        for scope in &app.scopes.value {
            match Scope::parse(&scope.value) {
                Ok(scope) => scopes.push(scope.as_str().to_owned()),
                Err(error) => self.problem(scope.referenced, error.to_string(), "such as tracking_api:write"),
            }
        }
        for key in app.keys.iter().flatten() {
            self.id(key, KeyId::parse)?;
        }
        let issuer = match (&app.issuer, issuers) {
            (Some(named), _) if issuers.iter().any(|known| known.issuer == named.value) => {
                named.value.clone()
            }
            (Some(named), _) => {
                self.problem(
                    named.referenced,
                    format!("the issuer `{}` is not configured", named.value),
                    "add it under `issuers:` of the config",
                );
                return None;
            }
            (None, [only]) => only.issuer.clone(),
            (None, _) => {
                self.problem(
                    app.id.referenced,
                    "the app must say whose tokens speak for it",
                    "add `issuer:`",
                );
                return None;
            }
        };
        Some(AppRecord {
            id: app.id.value.clone(),
            workspace: app.workspace.value.clone(),
            issuer,
            scopes,
            keys: app
                .keys
                .as_ref()
                .map(|keys| keys.iter().map(|key| key.value.clone()).collect()),
            not_issued_before: app.not_issued_before.unwrap_or(0),
            keys_not_issued_before: BTreeMap::new(),
        })
    }

    fn policy_source(
        &mut self,
        source: &PolicySourceFile,
        apps: &BTreeMap<&str, &PolicyAppFile>,
    ) -> Option<SourceRecord> {
        self.id(&source.id, SourceId::parse)?;
        self.id(&source.workspace, WorkspaceId::parse)?;
        let key = self.checked(
            WriteKey::parse(source.write_key.value.expose()),
            source.write_key.referenced,
        )?;
        let Some(enforcement) = Enforcement::parse(&source.enforcement.value) else {
            self.problem(
                source.enforcement.referenced,
                format!("`{}` is not an enforcement mode", shown(&source.enforcement)),
                "write \"off\", \"observe\" or \"on\"",
            );
            return None;
        };
        if let Some(app) = &source.app
            && !apps.contains_key(app.value.as_str())
        {
            self.problem(
                app.referenced,
                format!("there is no app `{}`", app.value),
                "add it under `apps:`",
            );
        }
        if source.app.is_none() && enforcement != Enforcement::Off {
            self.problem(
                source.enforcement.referenced,
                "no app is connected, so nothing could be let through",
                "connect one with `app:`, or write \"off\"",
            );
        }
        Some(SourceRecord {
            id: source.id.value.clone(),
            workspace: source.workspace.value.clone(),
            write_key_digest: digest_text(&key.digest()),
            enforcement: enforcement.as_str().to_owned(),
            app: source.app.as_ref().map(|app| app.value.clone()),
        })
    }

    fn id<T>(&mut self, raw: &Spanned<String>, parse: fn(&str) -> Result<T, InvalidId>) -> Option<T> {
        self.checked(parse(&raw.value), raw.referenced)
    }

    fn checked<T>(&mut self, parsed: Result<T, InvalidId>, at: Location) -> Option<T> {
        parsed
            .map_err(|error| self.problem(at, error.to_string(), "write another one"))
            .ok()
    }
}
