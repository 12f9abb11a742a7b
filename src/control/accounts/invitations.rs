//! How a person becomes a member: an owner invites them, and they prove who they are.
//!
//! An invitation by itself opens nothing and proves nothing: whoever holds its secret could be anybody whom the
//! owner sent it to, and the owner sees it, too. So a membership counts only once the person has joined it, with the
//! invitation's secret and, where they have a password already, with that as well; who signs on at a provider joins
//! by doing so. Somebody who registers an address that is not theirs gets into no workspace that its true owner is
//! invited to later.

use super::hashing;
use super::hashing::Hashing;
use crate::control::changes::{Changes, UnprovedTx};
use crate::control::rate_limits::Limits;
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
use crate::control::audit_event::Deed;
use crate::control::error::ControlError;
use crate::control::fair_queue::Turn;
use crate::control::ids;
use crate::control::workspaces::members::{member_event, member_in, member_value};
use crate::control::workspaces::roles::NewGrant;
use crate::domain::digest::sha256;
use crate::domain::ids::WorkspaceId;
use crate::domain::role::Action;
use crate::domain::time::UnixSeconds;
use crate::model::member::Member;
use crate::store::ReadTx;

/// What the secret of every invitation begins with.
const PREFIX: &str = "pci_";

/// Random letters and digits after the prefix: 238 bits.
const RANDOM_CHARS: usize = 40;

/// How long an invitation is good for, in seconds: seven days.
const LIFETIME_S: u64 = 7 * 86_400;

/// Wrong passwords after which an invitation is good for nothing.
const FAILURES_MAX: u64 = 10;

/// A person to be invited.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMember {
    pub email: String,
    pub roles: Vec<NewGrant>,
}

/// A member who was invited, with what lets them join. It is shown once and kept as a hash.
pub struct Invited {
    pub member: Member,
    secret: Zeroizing<String>,
    pub expires_at: UnixSeconds,
}

impl Invited {
    /// The invitation's secret, for the person who was invited.
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

/// Invitations into workspaces.
pub struct Invitations {
    pub(crate) hashing: Arc<Hashing>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) members: Arc<Members>,
}

impl Invitations {
    /// Invites a person into a workspace, to be what `new` says from the moment they join.
    ///
    /// # Errors
    /// A conflict where the person is a member, or [`ControlError::Invalid`] for an address or roles that cannot be taken.
    pub async fn invite_member(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        new: &NewMember,
    ) -> Result<Invited, ControlError> {
        actor.must(workspace, Action::ManageMembers)?;
        let now = self.changes.now();
        let mut tx = self.changes.begin(actor).await?;
        let member = self
            .members
            .new_member(&mut tx, workspace, &new.email, &new.roles)
            .await?;
        tx.insert_member(&member).await?;
        let mut secret = Zeroizing::new(PREFIX.to_owned());
        secret.push_str(&ids::alphanumerics(RANDOM_CHARS)?);
        let expires_at = now.plus(LIFETIME_S);
        tx.insert_invitation(&member.id, &hash(&secret), expires_at)
            .await?;
        let event = member_event(Deed::MemberInvited, &member).made(member_value(&member));
        self.changes.commit(tx, &[], event).await?;
        Ok(Invited {
            member,
            secret,
            expires_at,
        })
    }

    /// Lets an invited person join. Somebody new to this server chooses a password; somebody who has one gives it.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] for `secret`, the same for every secret that is good for nothing, or for
    /// `password`; [`ControlError::TooMany`] where a password was tried too often, here or at the sign-in.
    pub async fn accept_invitation(
        &self,
        from: IpAddr,
        secret: &str,
        password: &str,
    ) -> Result<Member, ControlError> {
        let refused = || {
            let problem =
                "this invitation is good for nothing (any more); ask an owner of the workspace for another";
            ControlError::invalid("secret", problem)
        };
        let (secret, now) = (hash(secret.trim()), self.changes.now());
        let mut tx = self.store.read().await?;
        let invitation = tx.invitation(&secret, now).await?;
        let invitation = invitation
            .filter(|found| found.failures < FAILURES_MAX)
            .ok_or_else(refused)?;
        let member = member_in(&mut tx, &invitation.workspace, &invitation.member).await?;
        let held = tx.password_hash(&member.account).await?;
        if held.is_none() {
            is_new(&mut tx, &member).await?;
        }
        drop(tx);
        // Hashing takes its time: no transaction is open meanwhile.
        let new = match &held {
            Some(held) => {
                // Invitations are no second door: a password is tried here as often as at the sign-in.
                let attempt = self.limits.sign_in(&member.email, from, None);
                let attempt = attempt.map_err(ControlError::TooManyFailures)?;
                let turn = match self.hashing.turn(Asker::Stranger(from)).await {
                    Ok(turn) => turn,
                    Err(error) => {
                        attempt.not_made();
                        return Err(error);
                    }
                };
                if !self.fits(turn, password, held).await? {
                    let tx = self.changes.begin_unproved().await?;
                    return self.refuse_proof(tx, from, member).await;
                }
                attempt.succeeded();
                None
            }
            None => {
                let password = hashing::chosen(password, &member.email)?;
                let turn = self.hashing.turn(Asker::Stranger(from)).await?;
                Some(self.hashing.hash(turn, password).await?)
            }
        };
        let mut tx = self.changes.begin_unproved().await?;
        // Whatever happened meanwhile counts.
        let invitation = tx.invitation(&secret, now).await?;
        let invitation = invitation
            .filter(|found| found.failures < FAILURES_MAX)
            .ok_or_else(refused)?;
        let mut member = member_in(&mut tx, &invitation.workspace, &invitation.member).await?;
        if tx.password_hash(&member.account).await? != held {
            return Err(refused());
        }
        if held.is_none() {
            is_new(&mut tx, &member).await?;
        }
        if let Some(hash) = new {
            tx.set_password_hash(&member.account, &hash).await?;
        }
        tx.join(&member.id, now).await?;
        member.joined_at = Some(now);
        member.revision += 1;
        let actor = Actor::member(member.clone(), Some(from));
        let event = member_event(Deed::MemberJoined, &member).made(json!({"email": member.email}));
        self.changes.commit(tx.proved(actor), &[], event).await?;
        Ok(member)
    }

    async fn fits(&self, turn: Turn, password: &str, held: &str) -> Result<bool, ControlError> {
        let typed = hashing::typed(password).unwrap_or_default();
        Ok(self.hashing.check(turn, typed, Some(held.to_owned())).await?.fits)
    }

    async fn refuse_proof(
        &self,
        mut tx: UnprovedTx,
        from: IpAddr,
        member: Member,
    ) -> Result<Member, ControlError> {
        tx.note_failed_proof(&member.id).await?;
        let event = member_event(Deed::InvitationRefused, &member);
        self.changes
            .commit(tx.proved(Actor::member(member, Some(from))), &[], event)
            .await?;
        Err(ControlError::invalid(
            "password",
            "this person has a password here already, and this is not it",
        ))
    }
}

/// Refuses somebody who is here already and has no password: the account is theirs, and not of whoever holds an
/// invitation and would choose a password for it.
async fn is_new(tx: &mut ReadTx, member: &Member) -> Result<(), ControlError> {
    let joined = tx.any_membership(&member.account).await?.is_some();
    if joined || tx.has_any_identity(&member.account).await? {
        return Err(ControlError::invalid(
            "password",
            "this person signs on at a provider; sign on there, and the invitation is accepted with that",
        ));
    }
    Ok(())
}

/// A secret has 238 random bits: nothing is gained by a slow hash.
fn hash(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(secret.as_bytes()))
}
