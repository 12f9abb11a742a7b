//! An issuer besides the bundled one, as the config says it.

use std::path::PathBuf;
use std::time::Duration;

use super::authorities::Authorities;
use crate::domain::claim_names::ClaimNames;
use crate::domain::key::Algorithm;
use crate::domain::policy::AcceptedTypes;
use crate::snapshot::KeyBounds;

/// Codes of warnings.
pub(super) const ANY_TYPE: u16 = 4;
pub(super) const NO_SCOPE: u16 = 12;
pub(super) const AUDIENCE_UNUSED: u16 = 13;

/// An issuer besides the bundled one.
#[derive(Clone, Debug)]
pub struct OutsideIssuer {
    pub issuer: String,
    pub keys: KeyOrigin,
    pub key_bounds: KeyBounds,
    pub algorithms: Vec<Algorithm>,
    pub audiences: Vec<String>,
    pub types: AcceptedTypes,
    pub claims: ClaimNames,
    pub leeway_s: u64,
    pub lifetime_max_s: Option<u64>,
}

impl OutsideIssuer {
    /// What is accepted and probably not meant: the code of each warning, and a sentence for the operator.
    #[must_use]
    pub fn warnings(&self) -> Vec<(u16, &'static str)> {
        let claims = &self.claims;
        let is_without_scope = claims.profile.lacks_scope() && claims.scope == claims.profile.claims().scope;
        let found = [
            (
                ANY_TYPE,
                self.types == AcceptedTypes::Any,
                "`typ: [\"*\"]` accepts ID tokens and other JWTs of the issuer as access tokens; list its types",
            ),
            (
                NO_SCOPE,
                is_without_scope,
                "tokens of this profile say no scope, so none is accepted; write `claims: {scope: none}`",
            ),
            (
                AUDIENCE_UNUSED,
                claims.audience.is_none() && !self.audiences.is_empty(),
                "tokens of this profile have no audience, so `audience` is not checked; remove it",
            ),
        ];
        found
            .into_iter()
            .filter_map(|(code, holds, text)| holds.then_some((code, text)))
            .collect()
    }
}

/// Where an outside issuer's keys come from.
#[derive(Clone, Debug)]
pub enum KeyOrigin {
    File(PathBuf),
    Uri(JwksUri),
}

/// A key set fetched over HTTP.
#[derive(Clone, Debug)]
pub struct JwksUri {
    pub place: KeyPlace,
    /// PEM bundle to trust in place of the system's.
    pub ca: Option<Authorities>,
    /// How often it is fetched when all is well.
    pub refresh: Duration,
    /// How long one fetch may take.
    pub fetch_timeout: Duration,
    /// The shortest time between two fetches that unknown key ids cause.
    pub cooldown: Duration,
    /// The longest that a request waits for a fetch.
    pub wait: Duration,
}

/// How the URL of a key set is known.
#[derive(Clone, Debug)]
pub enum KeyPlace {
    /// The config names it.
    Uri(http::Uri),
    /// The issuer's metadata names it (OpenID Connect Discovery, RFC 8414).
    Discovery,
}
