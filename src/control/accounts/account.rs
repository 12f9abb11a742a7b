//! Whose an address is: accounts that are verified, accounts that are not, and what ends with each.
//!
//! An invitation names an address, and its secret is seen by whoever invited, by whoever carried it, and by whoever
//! reads the mailbox. Who accepts it has proved to hold the secret, and not to own the address. So there are two kinds
//! of accounts:
//!
//! - **Unverified.** Every invitation has an account of its own. Who accepts it with its secret chooses a password for
//!   that account. It has that one membership and never another one, makes no workspace, and is deleted together with
//!   the membership. Any number of unverified accounts may have one address: none of them knows of another, and none
//!   of them stands in the way of another.
//! - **Verified.** At most one for each address. It comes about by a proof that the address is the person's: a
//!   provider (`login.oidc`) says that it has verified it, or the operator makes the person a member or gives them a
//!   password with `portcullis admin`. It may have a membership in any number of workspaces.
//!
//! A membership passes to a verified account only by what its person does: they sign on at the provider while an
//! invitation of their address is open; they accept an invitation by its secret while they are signed in; they sign on
//! at the provider in the browser in which they are signed in as the unverified account; or the operator names the
//! workspace to `admin reset-password`. Nothing that was set before the proof comes along: the password, the sessions,
//! the known browsers and the API tokens of the unverified account end.
//!
//! What that means for somebody who uses an address that is not theirs:
//!
//! - *First.* They accept an invitation of the address to a workspace of their own. The owner of the address is invited
//!   elsewhere later: that invitation has an account of its own, takes any password, and opens to the first one's
//!   password nothing. Once the owner has proved the address, the first one's account stays what it was.
//! - *Later.* The owner of the address is verified, or a member elsewhere. An invitation to a workspace of one's own
//!   makes another account. It sets no password of the owner's, and its sessions and tokens reach nothing of theirs.
//! - *Guessing.* A browser that is known to one account is known to that one alone: guesses at the passwords of the
//!   address's other accounts are counted as from any browser.
//! - *Asking.* Inviting an address, and accepting an invitation of it, is answered alike whatever else the address has.
//!
//! A sign-in names an address and a password, and the account is the one whose password it is. The passwords of one
//! address are hashed with one salt, so that a sign-in computes one hash however many accounts there are.

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

/// Memberships whose API tokens are looked for at once.
const MEMBERS_AT_ONCE: u32 = 100;

/// How many credentials of a person ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    pub sessions: u64,
    pub api_tokens: u64,
}

/// Accounts: what ends with their credentials, and whose an address is.
pub struct Accounts {
    pub(crate) ids: Arc<Ids>,
    pub(crate) changes: Arc<Changes>,
}

impl Accounts {
    /// A new account, which the caller's transaction has inserted.
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

    /// The verified account of an address, for who has just proved that the address is theirs. It may be new.
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

    /// Gives a verified account a membership of the same address, and ends every credential that was set for the
    /// account which had it. Answers what the trail says of it, and what ended.
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

    /// Ends all sessions of a person, forgets the browsers they used, and ends their API tokens in all workspaces where
    /// `with_api_tokens` says so. The trails of those workspaces tell of it.
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
    /// As the trail shows it.
    pub(crate) fn value(self) -> serde_json::Value {
        json!({"sessions": self.sessions, "api_tokens": self.api_tokens})
    }
}
