//! Records of a snapshot, each compiled into what a policy holds of it.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::key_set::KeySet;
use super::wire::{
    AppRecord, InvalidSnapshot, IssuerRecord, OWN_LEEWAY_S, RevocationRecord, SourceRecord, WorkspaceRecord,
    invalid, parse_digest,
};
use crate::domain::access_token::TOKEN_ID_BYTES_MAX;
use crate::domain::claim_names::ClaimNames;
use crate::domain::ids::{
    AppId, Audience, InvalidId, KeyId, SourceId, TokenDigest, WorkspaceId, WriteKeyDigest,
};
use crate::domain::key::Algorithm;
use crate::domain::policy::{AcceptedTypes, App, Enforcement, Source, TrustedIssuer};
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::time::{TokenLifetime, UnixSeconds};

/// Identifiers that many records name: each is digested and kept once.
#[derive(Default)]
pub(super) struct SharedIds<'s> {
    workspaces: HashMap<&'s str, WorkspaceId>,
    apps: HashMap<&'s str, AppId>,
}

fn shared<'s, I: Clone>(
    ids: &mut HashMap<&'s str, I>,
    text: &'s str,
    field: &str,
    parse: impl FnOnce(&str) -> Result<I, InvalidId>,
) -> Result<I, InvalidSnapshot> {
    if let Some(id) = ids.get(text) {
        return Ok(id.clone());
    }
    let id = parse(text).map_err(|error| invalid(field, error))?;
    ids.insert(text, id.clone());
    Ok(id)
}

pub(super) fn compile_issuer(record: &IssuerRecord) -> Result<TrustedIssuer, InvalidSnapshot> {
    if record.issuer.is_empty() {
        return Err(invalid("issuer", "has no name"));
    }
    let keys = KeySet::of_jwks(&record.keys, &Algorithm::ALL).keys;
    Ok(TrustedIssuer {
        issuer: Arc::from(record.issuer.as_str()),
        audiences: vec![
            Audience::parse(&record.audience).map_err(|error| invalid("issuer.audience", error))?,
        ],
        types: AcceptedTypes::Listed(vec!["at+jwt".to_owned()]),
        claims: ClaimNames::own(),
        leeway_s: OWN_LEEWAY_S,
        lifetime_max_s: Some(TokenLifetime::ThirtyDays.seconds()),
        keys: Some(keys),
    })
}

/// `issuers` lends its texts, so that a million apps of one issuer point at one text.
pub(super) fn compile_app<'s>(
    record: &'s AppRecord,
    issuers: &[TrustedIssuer],
    ids: &mut SharedIds<'s>,
) -> Result<App, InvalidSnapshot> {
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
        id: shared(&mut ids.apps, &record.id, "id", AppId::parse)?,
        workspace: shared(
            &mut ids.workspaces,
            &record.workspace,
            "workspace",
            WorkspaceId::parse,
        )?,
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

pub(super) fn compile_workspace(
    record: &WorkspaceRecord,
) -> Result<(WorkspaceId, UnixSeconds), InvalidSnapshot> {
    let id = WorkspaceId::parse(&record.id).map_err(|error| invalid("id", error))?;
    Ok((id, UnixSeconds(record.not_issued_before)))
}

pub(super) fn compile_source<'s>(
    record: &'s SourceRecord,
    ids: &mut SharedIds<'s>,
) -> Result<(WriteKeyDigest, Source), InvalidSnapshot> {
    let key =
        parse_digest(&record.write_key_digest).ok_or_else(|| invalid("write_key_digest", "is no digest"))?;
    let enforcement = Enforcement::parse(&record.enforcement)
        .ok_or_else(|| invalid("enforcement", "is none of `off`, `observe`, `on`"))?;
    let connected_app = record.app.as_deref();
    let connected_app = connected_app.map(|app| shared(&mut ids.apps, app, "app", AppId::parse));
    let source = Source {
        id: SourceId::parse(&record.id).map_err(|error| invalid("id", error))?,
        workspace: shared(
            &mut ids.workspaces,
            &record.workspace,
            "workspace",
            WorkspaceId::parse,
        )?,
        enforcement,
        connected_app: connected_app.transpose()?,
    };
    Ok((key, source))
}

pub(super) fn compile_revocation(
    record: &RevocationRecord,
) -> Result<(TokenDigest, UnixSeconds), InvalidSnapshot> {
    if record.token_id.is_empty() || record.token_id.len() > TOKEN_ID_BYTES_MAX {
        return Err(invalid("token_id", "is empty or too long"));
    }
    Ok((
        TokenDigest::of(&record.issuer, &record.token_id),
        UnixSeconds(record.expires_at),
    ))
}
