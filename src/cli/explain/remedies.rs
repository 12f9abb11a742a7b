//! What to do about each reason.

use crate::domain::decision::DenyReason;

/// What the person who runs the gateway, or the client's developer, does about a denial.
pub(super) const fn remedy(reason: DenyReason) -> &'static str {
    match reason {
        DenyReason::TokenMissing => {
            "send an access token of the connected app as `Authorization: Bearer TOKEN`"
        }
        DenyReason::TokenMalformed => {
            "send the `access_token` of the token endpoint's response, whole and unchanged"
        }
        DenyReason::TokenSignatureInvalid => {
            "request a new token; if it fails too, check that the client uses this environment's token endpoint"
        }
        DenyReason::TokenKeyUnknown => {
            "request a new token; for an outside issuer, check `jwks_uri` with `portcullis check --online`"
        }
        DenyReason::TokenIssuerUntrusted => {
            "use a token of this gateway's own token endpoint, or add the issuer to `issuers` of the config"
        }
        DenyReason::TokenAudienceMismatch => {
            "request a token for this gateway's audience, or add the audience to the issuer in the config"
        }
        DenyReason::TokenExpired => "request a new token, and request one before `expires_in` has passed",
        DenyReason::TokenNotYetValid => {
            "correct the clock of the issuer or of this host, or raise the issuer's `leeway`"
        }
        DenyReason::TokenRevoked => "request a new token",
        DenyReason::TokenTypeWrong => {
            "send the access token, not the ID token; for an outside issuer, check `typ` or `profile` in the config"
        }
        DenyReason::AppUnknown => {
            "use an app that exists in this policy, and that belongs to the token's issuer"
        }
        DenyReason::AppNotConnected => {
            "connect the token's app to the source, or use the app that is connected"
        }
        DenyReason::ScopeInsufficient => "give the app the scope, and request a new token with it",
        DenyReason::SourceUnknown => "send the write key of an existing source",
        DenyReason::SourceAmbiguous => "name one source, in one place",
        DenyReason::SourceMissing => "send the source's write key where the API looks for it",
        DenyReason::BodyInvalid => "send one JSON object, with `Content-Type: application/json`",
        DenyReason::BodyTooLarge => "send smaller batches, or raise `limits.body_bytes`",
        DenyReason::BodyEncodingUnsupported => "send the body with `Content-Encoding: gzip`, or without one",
        DenyReason::CredentialsConflict => {
            "send one `Authorization` header, and no token in the query or in a form"
        }
        DenyReason::PathInvalid => "send the path of a configured API in its canonical form",
        DenyReason::RequestMalformed => {
            "send well-formed HTTP: one Host, one way to tell the length, no folded lines"
        }
        DenyReason::HeadersTooLarge => {
            "send fewer or shorter headers, or raise `limits.headers` and `limits.header_bytes`"
        }
        DenyReason::RateLimited => "retry after the time that `Retry-After` names",
        DenyReason::PolicyStale => "restore the connection to the control plane, or see `policy.max_age`",
        DenyReason::PolicyUnavailable => "wait until the gateway has a policy; `/readyz` tells",
        DenyReason::KeysUnavailable => {
            "make the issuer's key set reachable; `portcullis check --online` tells what fails"
        }
        DenyReason::Overloaded => "retry; if it lasts, raise `limits.held_bytes` or add gateways",
        DenyReason::UpstreamUnavailable => "check the servers of the upstream",
        DenyReason::UpstreamTimeout => "check the servers of the upstream, or raise its `timeouts`",
        DenyReason::RequestTimeout => "send the request faster, or raise `limits.body_timeout`",
        DenyReason::ProofMissing => "request a token without `cnf`",
    }
}
