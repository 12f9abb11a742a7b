//! `policy.source: file`: sources, apps, connections and enforcement in one YAML file.
//!
//! The file becomes a [`Snapshot`], as gateways receive it from a control plane. What cannot become a valid one is an
//! error with its place in the file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_saphyr::{Location, Spanned};
use zeroize::Zeroizing;

use super::check::Check;
use super::file::{PolicyAppFile, PolicyDocument, PolicySourceFile, RevokedFile, SecretText};
use super::outside_issuer::OutsideIssuer;
use super::problem::{ConfigError, Problem};
use super::shown::shown;
use super::yaml::document::{document, read};
use super::yaml::nearest::nearest;
use super::yaml::tree::Tree;
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

const HINT: &str = "`portcullis schema policy` lets an editor check the file";

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
    policy_text(path, &text, Some(issuers), version, now).map(|(snapshot, _)| snapshot)
}

/// Checks the text of a policy file without the config that names it: the issuers of apps are taken as they are. The
/// warnings come back.
///
/// # Errors
/// As [`load_policy`].
pub fn check_policy(path: &Path, text: &str, now: UnixSeconds) -> Result<Vec<Problem>, ConfigError> {
    policy_text(path, text, None, 1, now).map(|(_, warnings)| warnings)
}

/// Reads a policy file without the config that names it, as [`check_policy`] does. `None` where the file is a config, or
/// cannot be read.
#[must_use]
pub fn policy_alone(path: &Path, now: UnixSeconds) -> Option<Result<Snapshot, ConfigError>> {
    let text = read(path, FILE_BYTES_MAX).ok()?;
    is_policy(&text).then(|| policy_text(path, &text, None, 1, now).map(|(snapshot, _)| snapshot))
}

/// Whether a text is a policy file rather than a config.
#[must_use]
pub fn is_policy(text: &str) -> bool {
    let places = Tree::parse(text).map(|tree| tree.places()).unwrap_or_default();
    let has = |key: &str| places.contains_key(key);
    let is_config = ["version", "gateway", "control_plane"].into_iter().any(has);
    !is_config && ["apps", "sources", "revoked"].into_iter().any(has)
}

fn policy_text(
    path: &Path,
    text: &str,
    issuers: Option<&[OutsideIssuer]>,
    version: u64,
    now: UnixSeconds,
) -> Result<(Snapshot, Vec<Problem>), ConfigError> {
    // An empty file is one that is being written at this moment.
    if text.trim().is_empty() {
        let hint = "write `apps:` and `sources:`; `sources: []` where there are none";
        return Err(ConfigError {
            problems: vec![Problem::at(
                path,
                None,
                "the file is empty".to_owned(),
                hint.to_owned(),
            )],
        });
    }
    let document = document::<PolicyDocument>(path, text, HINT);
    let mut check = Check::after(path, document.problems, document.left_out);
    let snapshot = document
        .value
        .map(|document| check.policy(&document, issuers, version, now));
    check.finish(snapshot, text)
}

impl Check<'_> {
    fn policy(
        &mut self,
        document: &PolicyDocument,
        issuers: Option<&[OutsideIssuer]>,
        version: u64,
        now: UnixSeconds,
    ) -> Snapshot {
        let mut workspaces = BTreeMap::new();
        let mut apps = Vec::new();
        for app in &document.apps {
            let (id, workspace) = (self.text(&app.id), self.text(&app.workspace));
            if let (Some(id), Some(workspace)) = (id, workspace)
                && workspaces.insert(id, workspace).is_some()
            {
                let message = format!("the app `{}` is repeated", shown(&app.id));
                self.problem(app.id.referenced, message, "keep one of the two");
            }
            apps.extend(self.policy_app(app, issuers));
        }
        let (mut keys, mut source_ids) = (BTreeSet::new(), BTreeSet::new());
        let mut sources = Vec::new();
        for source in &document.sources {
            if let Some(record) = self.policy_source(source, &workspaces) {
                if !source_ids.insert(record.id.clone()) {
                    let message = format!("the source `{}` is repeated", shown(&source.id));
                    self.problem(source.id.referenced, message, "keep one of the two");
                }
                if !keys.insert(record.write_key_digest.clone()) {
                    self.problem(
                        source.write_key.referenced,
                        "another source has the same write key",
                        "give each source its own write key",
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
        issuers: Option<&[OutsideIssuer]>,
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
                issuer: self.text(issuer)?,
                token_id: self.text(jti)?,
                expires_at: expires_at.value,
            },
            _ => {
                self.problem(
                    entry.referenced,
                    "the entry names neither a complete token, nor issuer, id and expiry of one",
                    "write {token: \"...\"}, or {issuer: ..., jti: ..., expires_at: ...}",
                );
                return None;
            }
        };
        // A token is accepted until its issuer's leeway is over, so its revocation must hold as long.
        let mut known = issuers
            .into_iter()
            .flatten()
            .filter(|known| known.issuer == record.issuer);
        Some(RevocationRecord {
            expires_at: record
                .expires_at
                .saturating_add(known.next().map_or(0, |known| known.leeway_s)),
            ..record
        })
    }

    /// The revocation of a complete token. Its signature is not checked: a token that no issuer signed revokes nothing.
    fn pasted(
        &mut self,
        token: &Spanned<SecretText>,
        issuers: Option<&[OutsideIssuer]>,
    ) -> Option<RevocationRecord> {
        let text = Zeroizing::new(self.replaced(token.value.expose(), token.referenced)?);
        let read = |token: &str| {
            let jws =
                CompactJws::parse_at_most(token, PASTED_BYTES_MAX).map_err(|error| error.to_string())?;
            let claims = jws.unverified_claims().map_err(|error| error.to_string())?;
            let named = claims.text("iss").ok();
            // Without a config its issuer is unknown, and with it the token's id.
            let Some(issuers) = issuers else { return Ok(None) };
            let issuer = issuers.iter().find(|known| Some(known.issuer.as_str()) == named);
            let issuer = issuer.ok_or("the token's issuer is not configured")?;
            let id = issuer.claims.id_of(&claims, jws.signing_input());
            let expires_at = claims.date("exp").map_err(|error| format!("the token {error}"))?;
            Ok::<_, String>(Some(RevocationRecord {
                issuer: issuer.issuer.clone(),
                token_id: id.map_err(|error| error.to_string())?.into(),
                expires_at: expires_at.0,
            }))
        };
        read(text.trim())
            .map_err(|problem| {
                self.problem(
                    token.referenced,
                    problem,
                    "paste the complete token of an issuer under `issuers:` of the config",
                );
            })
            .ok()
            .flatten()
    }

    fn policy_app(&mut self, app: &PolicyAppFile, issuers: Option<&[OutsideIssuer]>) -> Option<AppRecord> {
        let id = self.id(&app.id, AppId::parse)?;
        let workspace = self.id(&app.workspace, WorkspaceId::parse)?;
        let mut scopes = Vec::new();
        for scope in &app.scopes.value {
            let Some(text) = self.text(scope) else { continue };
            match Scope::parse(&text) {
                Ok(scope) => scopes.push(scope.as_str().to_owned()),
                Err(error) => self.problem(
                    scope.referenced,
                    error.to_string(),
                    "write a scope, such as tracking_api:write",
                ),
            }
        }
        let keys = app.keys.as_ref().map(|keys| {
            let keys = keys.iter().filter_map(|key| self.id(key, KeyId::parse));
            keys.collect()
        });
        let issuer = self.issuer_of_app(app, issuers)?;
        Some(AppRecord {
            id,
            workspace,
            issuer,
            scopes,
            keys,
            not_issued_before: app.not_issued_before.unwrap_or(0),
            keys_not_issued_before: BTreeMap::new(),
        })
    }

    /// The issuer of an app's tokens: the one that it names, or the only one of the config.
    fn issuer_of_app(&mut self, app: &PolicyAppFile, issuers: Option<&[OutsideIssuer]>) -> Option<String> {
        let named = match &app.issuer {
            Some(raw) => Some((self.text(raw)?, raw)),
            None => None,
        };
        match (named, issuers) {
            (Some((named, _)), None) => Some(named),
            (None, None) => Some(String::new()),
            (Some((named, _)), Some(issuers)) if issuers.iter().any(|known| known.issuer == named) => {
                Some(named)
            }
            (Some((named, raw)), Some(issuers)) => {
                let hint = match nearest(&named, issuers.iter().map(|known| known.issuer.as_str())) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "add it under `issuers:` of the config".to_owned(),
                };
                self.problem(
                    raw.referenced,
                    format!("the issuer `{}` is not configured", shown(raw)),
                    hint,
                );
                None
            }
            (None, Some([only])) => Some(only.issuer.clone()),
            (None, Some(_)) => {
                self.problem(
                    app.id.referenced,
                    "the app names no issuer of its tokens",
                    "add `issuer:`",
                );
                None
            }
        }
    }

    fn policy_source(
        &mut self,
        source: &PolicySourceFile,
        apps: &BTreeMap<String, String>,
    ) -> Option<SourceRecord> {
        let id = self.id(&source.id, SourceId::parse)?;
        let workspace = self.id(&source.workspace, WorkspaceId::parse)?;
        let place = source.write_key.referenced;
        let key = Zeroizing::new(self.replaced(source.write_key.value.expose(), place)?);
        let key = self.checked(WriteKey::parse(&key), place)?;
        let mode = self.text(&source.enforcement)?;
        let Some(enforcement) = Enforcement::parse(&mode) else {
            self.problem(
                source.enforcement.referenced,
                format!("`{}` is not an enforcement mode", shown(&source.enforcement)),
                "write \"off\", \"observe\" or \"on\"",
            );
            return None;
        };
        let app = match &source.app {
            Some(name) => Some(self.connection(&workspace, name, apps)?),
            None => None,
        };
        if source.app.is_none() && enforcement != Enforcement::Off {
            self.problem(
                source.enforcement.referenced,
                "the source has no app, so every request would be denied",
                "connect an app with `app:`, or write \"off\"",
            );
        }
        Some(SourceRecord {
            id,
            workspace,
            write_key_digest: digest_text(&key.digest()),
            enforcement: enforcement.as_str().to_owned(),
            app,
        })
    }

    /// Checks the app that a source is connected to.
    fn connection(
        &mut self,
        workspace: &str,
        name: &Spanned<String>,
        apps: &BTreeMap<String, String>,
    ) -> Option<String> {
        let app = self.text(name)?;
        match apps.get(&app) {
            None if self.is_incomplete("apps") => {}
            None => {
                let hint = match nearest(&app, apps.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "add it under `apps:`".to_owned(),
                };
                self.problem(name.referenced, format!("app `{}` not found", shown(name)), hint);
            }
            Some(other) if other != workspace => self.problem(
                name.referenced,
                format!("app `{}` is in another workspace than this source", shown(name)),
                "connect an app of the same workspace",
            ),
            Some(_) => {}
        }
        Some(app)
    }

    /// An id, with variables replaced.
    fn id<T>(&mut self, raw: &Spanned<String>, parse: fn(&str) -> Result<T, InvalidId>) -> Option<String> {
        let text = self.text(raw)?;
        self.checked(parse(&text), raw.referenced)?;
        Some(text)
    }

    fn checked<T>(&mut self, parsed: Result<T, InvalidId>, at: Location) -> Option<T> {
        parsed
            .map_err(|error| self.problem(at, error.to_string(), "write another value"))
            .ok()
    }
}
