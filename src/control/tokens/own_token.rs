//! An access token that this server issued, read from its text.

use crate::domain::ids::AppId;
use crate::domain::ids::WorkspaceId;
use crate::domain::time::UnixSeconds;
use crate::snapshot::OWN_LEEWAY_S;
use crate::store::revocation::Proof;
use crate::store::revocation::Revocation;
use zeroize::Zeroizing;

/// What stands before a token in a request (RFC 6750 section 2.1).
pub(crate) const BEARER: &str = "Bearer ";

/// What a token of ours says about itself.
pub(crate) struct OwnToken {
    pub app: AppId,
    pub workspace: WorkspaceId,
    pub token_id: String,
    /// `aud`, where the token itself was given; empty otherwise.
    pub audience: String,
    pub expires_at: UnixSeconds,
    /// Unknown where the token itself was not at hand.
    pub proof: Option<Proof>,
}

impl OwnToken {
    /// When no gateway takes the token any more: one whose clock is behind does so for a little longer than the
    /// token says.
    pub fn over_at(&self) -> UnixSeconds {
        self.expires_at.plus(OWN_LEEWAY_S)
    }

    /// The entry that ends the token, kept until `over_at`.
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

/// A token as it was pasted: perhaps with the word before it that a request has, or broken into lines on the way.
pub(crate) fn pasted(text: &str) -> Zeroizing<String> {
    let text = text.trim_start();
    let rest = match text.split_at_checked(BEARER.len()) {
        Some((word, rest)) if word.eq_ignore_ascii_case(BEARER) => rest,
        _ => text,
    };
    // Room for all of it, so that no part is left behind in memory that grew.
    let mut token = Zeroizing::new(String::with_capacity(rest.len()));
    token.extend(rest.chars().filter(|letter| !letter.is_ascii_whitespace()));
    token
}
