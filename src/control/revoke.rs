//! Revocation of one access token.

use serde_json::json;

use super::Control;
use super::actor::Actor;
use super::apps::app_event;
use super::audit::Deed;
use super::error::ControlError;
use crate::domain::access_token::TOKEN_ID_BYTES_MAX;
use crate::domain::ids::{AppId, WorkspaceId};
use crate::domain::jws::CompactJws;
use crate::domain::role::Action;
use crate::domain::time::UnixSeconds;
use crate::snapshot::{Change, OWN_LEEWAY_S, RevocationRecord};
use crate::store::ledger::Revocation;

/// What has become of a token that was to be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// It is not accepted any more, by this call or an earlier one.
    Now { expires_at: UnixSeconds },
    /// It had expired by itself; there was nothing to do.
    Expired { expires_at: UnixSeconds },
}

/// What a token of ours says about itself.
struct OwnToken {
    token_id: String,
    expires_at: UnixSeconds,
}

impl Control {
    /// Revokes one access token of an app, given the complete token.
    ///
    /// # Errors
    /// One and the same [`ControlError::Invalid`] for garbage, for a token that we did not sign and for one of
    /// another app: nobody learns from it whether somebody else's token is genuine.
    pub async fn revoke_token(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        app: &AppId,
        token: &str,
    ) -> Result<Revoked, ControlError> {
        actor.must(workspace, Action::EditApp)?;
        let found = self.app(actor, workspace, app).await?;
        let token = self.own_token(token.trim(), workspace, app).ok_or_else(|| {
            let problem = "this is not an access token of this OAuth app; paste the complete token";
            ControlError::invalid("token", problem)
        })?;
        let now = self.now();
        // A gateway whose clock is behind accepts the token for a little longer than it says.
        let until = token.expires_at.plus(OWN_LEEWAY_S);
        if until <= now {
            return Ok(Revoked::Expired {
                expires_at: token.expires_at,
            });
        }
        let revoked = Revoked::Now {
            expires_at: token.expires_at,
        };
        let mut tx = self.store.write().await?;
        if tx.is_revoked(self.issuer(), &token.token_id).await? {
            return Ok(revoked);
        }
        let revocation = Revocation {
            issuer: self.issuer().to_owned(),
            token_id: token.token_id,
            expires_at: until,
            app: app.clone(),
            at: now,
            reason: "revoked by a member",
        };
        tx.insert_revocation(&revocation).await?;
        let record = RevocationRecord {
            issuer: revocation.issuer,
            token_id: revocation.token_id,
            expires_at: until.0,
        };
        let event = app_event(Deed::TokenRevoked, &found.app)
            .made(json!({"jti": record.token_id, "expires_at": token.expires_at.0}));
        self.commit(tx, actor, &[Change::Revoke(record)], event).await?;
        Ok(revoked)
    }

    /// The token, if one of our keys signed it for this app of this workspace.
    fn own_token(&self, token: &str, workspace: &WorkspaceId, app: &AppId) -> Option<OwnToken> {
        let jws = CompactJws::parse(token).ok()?;
        if !self.keys.signed(&jws) {
            return None;
        }
        let claims = jws.unverified_claims().ok()?;
        let ours = claims.text("iss") == Ok(self.issuer())
            && claims.text("client_id") == Ok(app.as_str())
            && claims.text("workspace_id") == Ok(workspace.as_str());
        let token_id = claims
            .text("jti")
            .ok()
            .filter(|id| (1..=TOKEN_ID_BYTES_MAX).contains(&id.len()))?;
        let expires_at = UnixSeconds(claims.integer("exp").ok()?);
        ours.then(|| OwnToken {
            token_id: token_id.to_owned(),
            expires_at,
        })
    }
}
