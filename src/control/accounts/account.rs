//! Accounts: verified and unverified ones, and how a membership passes from one to the other.
//!
//! An invitation names an email address. Its secret is seen by the person who invites, by everybody who forwards it,
//! and by everybody who reads the mailbox. Accepting it proves possession of the secret, not ownership of the
//! address. So there are two kinds of accounts:
//!
//! - **Unverified.** Every invitation has an account of its own. The person who accepts it with its secret chooses a
//!   password for that account. The account has this one membership and no other, creates no workspace, and is
//!   deleted together with the membership. Any number of unverified accounts may have one address. They are
//!   independent of each other.
//! - **Verified.** At most one for each address. The person has proved that the address is theirs: a provider
//!   (`login.oidc`) reports it as verified, or the operator makes the person a member or sets a password with
//!   `portcullis admin`. It may have memberships in any number of workspaces.
//!
//! A membership passes to a verified account only by an action of its person: they sign on at the provider while an
//! invitation of their address is open; they accept an invitation by its secret while signed in; they sign on at the
//! provider in the browser in which they are signed in as the unverified account; or the operator names the workspace
//! to `admin reset-password`. Every credential that was set before the proof is revoked: the password, the sessions,
//! the known browsers and the API tokens of the unverified account.
//!
//! What a person gains by using another person's address:
//!
//! - *First.* They accept an invitation of the address to their own workspace. Later the owner of the address is
//!   invited elsewhere: that invitation has an account of its own and accepts any password, and the first password
//!   does not open it. When the owner proves the address, the first account stays as it was.
//! - *Later.* The owner of the address is verified, or a member elsewhere. An invitation to the attacker's own
//!   workspace makes another account. It sets no password of the owner's, and its sessions and tokens reach nothing
//!   of the owner's.
//! - *Guessing.* A browser known to one account is known to that account only: guesses at the passwords of the
//!   address's other accounts count as from an unknown browser.
//! - *Probing.* Inviting an address, and accepting an invitation, has the same response for
//!   every address.
//!
//! A sign-in names an address and a password; the account is the one whose password matches. The passwords of one
//! address share one salt, so a sign-in computes one hash for any number of accounts.

use crate::control::changes::Changes;
use crate::control::ids::Ids;
use serde_json::json;
use std::sync::Arc;

use crate::control::actor::Actor;
use crate::control::audit_event::member_event;
use crate::control::audit_event::{AuditAction, Event};
use crate::control::error::ControlError;
use crate::domain::ids::AccountId;
use crate::model::account::Account;
use crate::model::member::Member;
use crate::store::WriteTx;

/// Memberships whose API tokens are looked up at once.
const MEMBERS_AT_ONCE: u32 = 100;

/// How many credentials of a person were revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    pub sessions: u64,
    pub api_tokens: u64,
}

/// Accounts: verification of addresses, and revocation of credentials.
pub struct Accounts {
    pub(crate) ids: Arc<Ids>,
    pub(crate) changes: Arc<Changes>,
}

impl Accounts {
    /// A new account. The caller's transaction inserts it.
    pub(crate) async fn new_account(
        &self,
        tx: &mut WriteTx,
        email: String,
        is_verified: bool,
    ) -> Result<Account, ControlError> {
        let now = self.changes.now();
        let account = Account {
            id: self.ids.make("acc", AccountId::parse, now)?,
            email,
            created_at: now,
            verified_at: is_verified.then_some(now),
        };
        tx.insert_account(&account).await?;
        Ok(account)
    }

    /// The verified account of an address whose ownership has just been proved. It may be new.
    pub(crate) async fn verified_account(
        &self,
        tx: &mut WriteTx,
        email: String,
    ) -> Result<Account, ControlError> {
        match tx.verified_account(&email).await? {
            Some(account) => Ok(account),
            None => self.new_account(tx, email, true).await,
        }
    }

    /// Moves a membership of the same address to a verified account, and revokes every credential of the account that
    /// had it. Returns the audit events, and what was revoked.
    pub(crate) async fn take_over(
        &self,
        tx: &mut WriteTx,
        actor: &Actor,
        member: &Member,
        to: &Account,
        why: &'static str,
    ) -> Result<(Event, Ended), ControlError> {
        let ended = self
            .end_credentials(tx, actor, &member.account, true, why)
            .await?;
        tx.move_member(&member.id, &to.id).await?;
        tx.delete_unverified(&member.account).await?;
        let after = json!({"email": member.email, "by": why});
        Ok((
            member_event(AuditAction::MemberVerified, member).made(after),
            ended,
        ))
    }

    /// Deletes all sessions and known browsers of an account, and with `with_api_tokens` its API tokens in all
    /// workspaces, with audit events in those workspaces.
    pub(crate) async fn end_credentials(
        &self,
        tx: &mut WriteTx,
        actor: &Actor,
        account: &AccountId,
        with_api_tokens: bool,
        why: &'static str,
    ) -> Result<Ended, ControlError> {
        let sessions = tx.end_sessions(account).await?;
        let mut ended = Ended {
            sessions,
            api_tokens: 0,
        };
        if !with_api_tokens {
            return Ok(ended);
        }
        loop {
            let members = tx.members_with_api_tokens(account, MEMBERS_AT_ONCE).await?;
            if members.is_empty() {
                return Ok(ended);
            }
            for (workspace, id) in members {
                let tokens = tx.delete_api_tokens_of(&id).await?;
                ended.api_tokens += u64::try_from(tokens.len()).unwrap_or(u64::MAX);
                let email = tx.email_of(account).await?.unwrap_or_default();
                let event = Event::new(AuditAction::ApiTokensEnded, &workspace, "member", &id, &email)
                    .removed(json!({"api_tokens": tokens, "by": why}));
                self.changes.append_audit(tx, actor, event).await?;
            }
        }
    }
}

impl Ended {
    /// The form in the audit trail.
    pub(crate) fn value(self) -> serde_json::Value {
        json!({"sessions": self.sessions, "api_tokens": self.api_tokens})
    }
}
