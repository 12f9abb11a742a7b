//! Decisions: a permit that carries proof, or a denial that carries its reason.

use std::sync::Arc;

use super::policy::{App, Source};

/// The answer to one request.
#[derive(Clone, Debug)]
pub enum Decision {
    Allow(Permit),
    Deny(DenyReason),
}

/// Proof that a decision allowed a request. Only `decide` makes one, and forwarding needs one.
#[derive(Clone, Debug)]
pub struct Permit {
    pub(super) mode: Mode,
    pub(super) source: Option<Arc<Source>>,
    pub(super) app: Option<Arc<App>>,
    pub(super) would_deny: Option<DenyReason>,
}

/// On what ground a request was allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A valid token was needed and there.
    Enforced,
    /// A valid token is not yet needed; whether there was one is in [`Permit::would_deny`].
    Observed,
    /// No token was needed and none was looked at.
    Unenforced,
}

impl Mode {
    /// The value of `X-Portcullis-Decision`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Observed => "observed",
            Self::Unenforced => "unenforced",
        }
    }
}

impl Permit {
    /// On what ground the request was allowed.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The source the request is for, where one is known.
    #[must_use]
    pub fn source(&self) -> Option<&Source> {
        self.source.as_deref()
    }

    /// The app whose token was accepted.
    #[must_use]
    pub fn app(&self) -> Option<&App> {
        self.app.as_deref()
    }

    /// What the request would have been denied for, were its source enforced.
    #[must_use]
    pub fn would_deny(&self) -> Option<DenyReason> {
        self.would_deny
    }
}

macro_rules! deny_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:literal, $oauth:expr, $sentence:literal;)*) => {
        /// Why a request was refused: one stable word, the same in answers, logs and metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DenyReason {
            $($(#[$doc])* $variant,)*
        }

        impl DenyReason {
            /// Every reason, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The HTTP status of the answer.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// The `error` code: RFC 6750 section 3.1 where it has one.
            #[must_use]
            pub const fn error(self) -> &'static str {
                match self { $(Self::$variant => $oauth,)* }
            }

            /// A sentence for the person who reads the answer.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }
    };
}

const INVALID_TOKEN: &str = "invalid_token";
const INVALID_REQUEST: &str = "invalid_request";
const UNAVAILABLE: &str = "temporarily_unavailable";

deny_reasons! {
    TokenMissing = "token_missing", 401, "unauthorized",
        "this source needs an access token; send it as Authorization: Bearer";
    TokenMalformed = "token_malformed", 401, INVALID_TOKEN,
        "the access token is not a well-formed JWT access token";
    TokenSignatureInvalid = "token_signature_invalid", 401, INVALID_TOKEN,
        "the access token's signature is not valid";
    TokenKeyUnknown = "token_key_unknown", 401, INVALID_TOKEN,
        "the access token was signed with a key that its issuer does not publish, or no longer does";
    TokenIssuerUntrusted = "token_issuer_untrusted", 401, INVALID_TOKEN,
        "the access token's issuer is not trusted here";
    TokenAudienceMismatch = "token_audience_mismatch", 401, INVALID_TOKEN,
        "the access token was issued for another audience";
    TokenExpired = "token_expired", 401, INVALID_TOKEN,
        "the access token has expired; request a new one";
    TokenNotYetValid = "token_not_yet_valid", 401, INVALID_TOKEN,
        "the access token is not valid yet; check the clock of its issuer";
    TokenRevoked = "token_revoked", 401, INVALID_TOKEN,
        "the access token was revoked; request a new one";
    TokenTypeWrong = "token_type_wrong", 401, INVALID_TOKEN,
        "the token is not an access token (its typ says so)";
    AppUnknown = "app_unknown", 401, INVALID_TOKEN,
        "the OAuth app that the access token was issued to does not exist here";
    AppNotConnected = "app_not_connected", 403, "access_denied",
        "the OAuth app of the access token is not connected to this source";
    ScopeInsufficient = "scope_insufficient", 403, "insufficient_scope",
        "the access token lacks the scope that this API needs";
    SourceUnknown = "source_unknown", 401, "unauthorized",
        "no source has this write key";
    SourceAmbiguous = "source_ambiguous", 400, INVALID_REQUEST,
        "the request names more than one source; send one write key, once";
    SourceMissing = "source_missing", 400, INVALID_REQUEST,
        "the request names no source; send its write key";
    BodyInvalid = "body_invalid", 400, INVALID_REQUEST,
        "the body is not one valid JSON object";
    BodyTooLarge = "body_too_large", 413, INVALID_REQUEST,
        "the body is larger than this gateway accepts";
    BodyEncodingUnsupported = "body_encoding_unsupported", 415, INVALID_REQUEST,
        "the body's Content-Encoding is not supported; send gzip, once, or none";
    CredentialsConflict = "credentials_conflict", 400, INVALID_REQUEST,
        "the request carries more than one credential; send one Authorization header";
    PathInvalid = "path_invalid", 400, INVALID_REQUEST,
        "the request's path is not in its one canonical form";
    RequestMalformed = "request_malformed", 400, INVALID_REQUEST,
        "the request is not well-formed HTTP that this gateway forwards";
    HeadersTooLarge = "headers_too_large", 431, INVALID_REQUEST,
        "the request's headers are more or larger than this gateway accepts";
    RateLimited = "rate_limited", 429, UNAVAILABLE,
        "too many requests; retry after the time given";
    PolicyStale = "policy_stale", 503, UNAVAILABLE,
        "the gateway has not heard from its control plane for too long to decide";
    PolicyUnavailable = "policy_unavailable", 503, UNAVAILABLE,
        "the gateway has no policy yet; retry shortly";
    KeysUnavailable = "keys_unavailable", 503, UNAVAILABLE,
        "the keys of the token's issuer have not been fetched yet; retry shortly";
    Overloaded = "overloaded", 503, UNAVAILABLE,
        "the gateway holds as much as it may; retry shortly";
    UpstreamUnavailable = "upstream_unavailable", 502, "bad_gateway",
        "the API behind the gateway could not be reached";
    UpstreamTimeout = "upstream_timeout", 504, "gateway_timeout",
        "the API behind the gateway did not answer in time";
    RequestTimeout = "request_timeout", 408, INVALID_REQUEST,
        "the request did not arrive in time";
    ProofMissing = "proof_missing", 401, INVALID_TOKEN,
        "the access token is bound to a key, and this gateway accepts bearer tokens only; request a token without `cnf`";
}

impl DenyReason {
    /// Whether the SDKs could do better with a new token: these three may be answered with 511, on
    /// which they fetch one and send the batch again.
    #[must_use]
    pub const fn asks_for_new_token(self) -> bool {
        matches!(
            self,
            Self::TokenExpired | Self::TokenRevoked | Self::TokenKeyUnknown
        )
    }

    /// Whether the answer carries a `WWW-Authenticate` challenge (RFC 6750 section 3): every 401, and
    /// 403 for a missing scope.
    #[must_use]
    pub const fn challenges(self) -> bool {
        self.status() == 401 || matches!(self, Self::ScopeInsufficient)
    }

    /// Whether the upstream or this gateway failed, as opposed to a denial for what the client sent.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        self.status() >= 500
    }

    /// `decision` of a request that got this reason, in metrics and log.
    #[must_use]
    pub const fn decision(self) -> &'static str {
        match self.is_failure() {
            true => "error",
            false => "deny",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_word_and_an_error_status() {
        let mut words: Vec<_> = DenyReason::ALL.iter().map(|reason| reason.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), DenyReason::ALL.len());
        assert_eq!(words.len(), 32);
        assert!(
            DenyReason::ALL
                .iter()
                .all(|reason| (400..=504).contains(&reason.status()))
        );
    }
}
