//! Invitations: an owner invites a person, who accepts and becomes a member.
//!
//! The owner who invites sees the invitation's secret, too. So it grants the membership that it names and nothing
//! else: with a password that the accepting person chooses, or for a signed-in account whose address is verified.
//! Nobody learns whether the address has an account elsewhere (see [`accounts`](super::account)).

use super::hashing;
use super::hashing::Hashing;
use super::sessions::Sessions;
use crate::control::changes::Changes;
use crate::control::workspaces::members::Members;
use crate::store::Store;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::hashing::Asker;
use crate::control::actor::Actor;
use crate::control::audit_event::member_event;
use crate::control::audit_event::{AuditAction, Event};
use crate::control::error::ControlError;
use crate::control::ids;
use crate::control::workspaces::members::member_in;
use crate::control::workspaces::members::member_value;
use crate::control::workspaces::roles::NewGrant;
use crate::domain::digest::sha256;
use crate::domain::ids::WorkspaceId;
use crate::domain::role::Action;
use crate::domain::time::UnixSeconds;
use crate::model::member::Member;
use crate::model::session::SessionRecord;
use crate::store::{ReadTx, WriteTx};

/// The prefix of every invitation's secret.
const PREFIX: &str = "pci_";

/// Random letters and digits after the prefix: 238 bits.
const RANDOM_CHARS: usize = 40;

/// The lifetime of an invitation, in seconds: seven days.
const LIFETIME_S: u64 = 7 * 86_400;

/// How an invitation is accepted.
pub enum AcceptBy<'a> {
    /// With a new password for the workspace.
    Password(&'a str),
    /// As the signed-in person, whose address is the invited one.
    Session(&'a SessionRecord),
}

/// A person to invite.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMember {
    pub email: String,
    pub roles: Vec<NewGrant>,
}

/// An invited member, with the invitation's secret. It is shown once; the store has its hash.
pub struct Invited {
    pub member: Member,
    secret: Zeroizing<String>,
    pub expires_at: UnixSeconds,
}

impl Invited {
    /// The invitation's secret, for the invited person.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for Invited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invited({})", self.member.id)
    }
}

/// Invitations to workspaces.
pub struct Invitations {
    pub(crate) hashing: Arc<Hashing>,
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) members: Arc<Members>,
    pub(crate) sessions: Arc<Sessions>,
}

impl Invitations {
    /// Invites a person to a workspace, with the roles in `new` from the time they join.
    ///
    /// # Errors
    /// A conflict if the person is a member, or [`ControlError::Invalid`] for an invalid address or roles.
    pub async fn invite_member(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        new: &NewMember,
    ) -> Result<Invited, ControlError> {
        actor.require(workspace, Action::ManageMembers)?;
        let now = self.changes.now();
        let mut tx = self.changes.begin(actor).await?;
        let member = self
            .members
            .new_member(&mut tx, workspace, &new.email, &new.roles, false)
            .await?;
        tx.insert_member(&member).await?;
        let mut secret = Zeroizing::new(PREFIX.to_owned());
        secret.push_str(&ids::alphanumerics(RANDOM_CHARS)?);
        let expires_at = now.plus(LIFETIME_S);
        tx.insert_invitation(&member.id, &hash(&secret), expires_at)
            .await?;
        let event = member_event(AuditAction::MemberInvited, &member).made(member_value(&member));
        self.changes.commit(tx, &[], event).await?;
        Ok(Invited {
            member,
            secret,
            expires_at,
        })
    }

    /// Accepts an invitation with its secret.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] for `secret`, the same for every invalid secret, or for `password`;
    /// [`ControlError::AddressUnverified`] for a session whose address is not verified; [`ControlError::PasswordsOff`]
    /// for a password where they are turned off.
    pub async fn accept_invitation(
        &self,
        from: IpAddr,
        secret: &str,
        by: AcceptBy<'_>,
    ) -> Result<Member, ControlError> {
        if let AcceptBy::Password(_) = by {
            self.sessions.require_passwords()?;
        }
        let secret = hash(secret.trim());
        let mut tx = self.store.read().await?;
        let member = invited(&mut tx, &secret, self.changes.now()).await?;
        drop(tx);
        match by {
            AcceptBy::Password(password) => self.join_with_password(from, &secret, &member, password).await,
            AcceptBy::Session(session) => self.join_in_session(from, &secret, session).await,
        }
    }

    async fn join_with_password(
        &self,
        from: IpAddr,
        secret: &str,
        member: &Member,
        password: &str,
    ) -> Result<Member, ControlError> {
        let chosen = hashing::validate_new(password, &member.email)?;
        let prefixes = self.store.password_prefixes(&member.email, None).await?;
        let turn = self.hashing.turn(Asker::Stranger(from)).await?;
        // Hashing takes time: no transaction is open meanwhile, and the state is read again afterwards.
        let password = self.hashing.hash(turn, chosen, prefixes).await?;
        let mut tx = self.changes.begin_unproved().await?;
        let member = invited(&mut tx, secret, self.changes.now()).await?;
        hashing::check_salt(&mut tx, &member.account, &member.email, &password).await?;
        tx.set_password_hash(&member.account, &password).await?;
        let (member, event) = self.joined(&mut tx, member).await?;
        let actor = Actor::member(member.clone(), Some(from));
        self.changes.commit(tx.proved(actor), &[], event).await?;
        Ok(member)
    }

    async fn join_in_session(
        &self,
        from: IpAddr,
        secret: &str,
        session: &SessionRecord,
    ) -> Result<Member, ControlError> {
        let mut tx = self.changes.begin_unproved().await?;
        let member = invited(&mut tx, secret, self.changes.now()).await?;
        // The body may have taken time to arrive: the session must still be valid when the change is made.
        if !tx
            .has_session(&session.account, &session.id, self.changes.now())
            .await?
        {
            return Err(ControlError::Unauthenticated);
        }
        let account = tx.account(&session.account).await?;
        let account = account.ok_or(ControlError::Unauthenticated)?;
        if account.verified_at.is_none() {
            return Err(ControlError::AddressUnverified);
        }
        if account.email != member.email {
            let problem =
                "this invitation is for another email address; sign out, or sign in with the invited address";
            return Err(ControlError::invalid("secret", problem));
        }
        tx.move_member(&member.id, &account.id).await?;
        tx.delete_unverified(&member.account).await?;
        let member = Member {
            account: account.id,
            revision: member.revision + 1,
            ..member
        };
        let (member, event) = self.joined(&mut tx, member).await?;
        let actor = Actor::member(member.clone(), Some(from));
        self.changes.commit(tx.proved(actor), &[], event).await?;
        Ok(member)
    }

    /// Marks a membership as joined. Returns the new state and the audit event.
    pub(crate) async fn joined(
        &self,
        tx: &mut WriteTx,
        mut member: Member,
    ) -> Result<(Member, Event), ControlError> {
        let now = self.changes.now();
        tx.join(&member.id, now).await?;
        member.joined_at = Some(now);
        member.revision += 1;
        let event = member_event(AuditAction::MemberJoined, &member).made(json!({"email": member.email}));
        Ok((member, event))
    }
}

/// The membership of an invitation, by the hash of its secret.
async fn invited(tx: &mut ReadTx, secret: &str, now: UnixSeconds) -> Result<Member, ControlError> {
    let found = tx.invitation(secret, now).await?;
    let found = found.ok_or_else(|| {
        let problem = "this invitation is invalid or has expired; ask a workspace owner for a new one";
        ControlError::invalid("secret", problem)
    })?;
    member_in(tx, &found.workspace, &found.member).await
}

/// A secret has 238 random bits, so a slow hash gains nothing.
fn hash(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(secret.as_bytes()))
}
