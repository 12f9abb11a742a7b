//! An access token that this server issued, read from its text.

use crate::domain::ids::AppId;
use crate::domain::ids::WorkspaceId;
use crate::domain::time::UnixSeconds;
use crate::snapshot::OWN_LEEWAY_S;
use crate::store::revocation::Proof;
use crate::store::revocation::Revocation;
use zeroize::Zeroizing;

/// The prefix of a token in a request (RFC 6750 section 2.1).
pub(crate) const BEARER: &str = "Bearer ";

/// The claims of a token that this server issued.
pub(crate) struct OwnToken {
    pub app: AppId,
    pub workspace: WorkspaceId,
    pub token_id: String,
    /// `aud`, where the token itself was given; empty otherwise.
    pub audience: String,
    pub expires_at: UnixSeconds,
    /// Unknown where only the token's id was given.
    pub proof: Option<Proof>,
}

impl OwnToken {
    /// When no gateway accepts the token any more: a gateway whose clock is behind accepts it for the leeway after `exp`.
    pub fn over_at(&self) -> UnixSeconds {
        self.expires_at.plus(OWN_LEEWAY_S)
    }

    /// The token's entry in the revocation list, kept until `over_at`.
    pub fn revocation(
        &self,
        issuer: &str,
        now: UnixSeconds,
        over_at: UnixSeconds,
        reason: &'static str,
    ) -> Revocation {
        Revocation {
            issuer: issuer.to_owned(),
            token_id: self.token_id.clone(),
            expires_at: over_at,
            app: self.app.clone(),
            proof: self.proof.clone(),
            at: now,
            reason,
        }
    }
}

/// A pasted token, without a `Bearer` prefix and line breaks.
pub(crate) fn pasted(text: &str) -> Zeroizing<String> {
    let text = text.trim_start();
    let rest = match text.split_at_checked(BEARER.len()) {
        Some((word, rest)) if word.eq_ignore_ascii_case(BEARER) => rest,
        _ => text,
    };
    // Allocated at full length: growing would leave copies of the token in memory.
    let mut token = Zeroizing::new(String::with_capacity(rest.len()));
    token.extend(rest.chars().filter(|letter| !letter.is_ascii_whitespace()));
    token
}
