//! Events of the audit trail, and filters over them.

use crate::domain::digest::Chain;
use crate::domain::time::UnixSeconds;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// One row of the trail as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    pub id: String,
    /// The workspace it happened in; none for what concerns the whole server.
    pub workspace: Option<String>,
    pub at: UnixSeconds,
    pub action: String,
    pub actor_type: String,
    pub actor_id: String,
    /// What people knew the actor by when it happened.
    pub actor_name: String,
    pub address: Option<String>,
    pub resource_type: String,
    pub resource_id: String,
    pub resource_name: String,
    /// JSON of what the change replaced, and of what it put there.
    pub changed_from: Option<String>,
    pub changed_to: Option<String>,
}

/// Which events of a workspace are asked for. What is absent does not matter.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Whose: a member's, an app's or the server's id.
    pub actor: Option<String>,
    /// Whose, by the e-mail address that they had then.
    pub actor_name: Option<String>,
    pub action: Option<String>,
    pub resource_type: Option<String>,
    pub resource_id: Option<String>,
    /// From this moment on.
    pub since: Option<UnixSeconds>,
    /// Before this moment.
    pub until: Option<UnixSeconds>,
}

impl AuditFilter {
    /// The events of one actor: people know members by their addresses, programs by their ids. Empty for
    /// everybody's.
    pub fn of_actor(whom: &str) -> Self {
        let named = whom.contains('@');
        Self {
            actor_name: named.then(|| whom.to_lowercase()),
            actor: (!named && !whom.is_empty()).then(|| whom.to_owned()),
            ..Self::default()
        }
    }
}

impl AuditRow {
    /// What the row takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let texts = [
            &self.id,
            &self.action,
            &self.actor_type,
            &self.actor_id,
            &self.actor_name,
            &self.resource_type,
            &self.resource_id,
            &self.resource_name,
        ];
        let optional = [
            &self.workspace,
            &self.address,
            &self.changed_from,
            &self.changed_to,
        ];
        let optional = optional.into_iter().flatten();
        size_of::<Self>() + texts.into_iter().chain(optional).map(String::len).sum::<usize>()
    }

    /// The hash of this row at `position`, after a row whose hash is `before`.
    pub(crate) fn hash(&self, position: i64, before: &str) -> String {
        let mut chain = Chain::new("portcullis audit event, first form");
        chain.text(Some(before));
        chain.number(position);
        chain.text(Some(&self.id));
        chain.text(self.workspace.as_deref());
        chain.number(i64::try_from(self.at.0).unwrap_or(i64::MAX));
        for text in [&self.action, &self.actor_type, &self.actor_id, &self.actor_name] {
            chain.text(Some(text));
        }
        chain.text(self.address.as_deref());
        for text in [&self.resource_type, &self.resource_id, &self.resource_name] {
            chain.text(Some(text));
        }
        chain.text(self.changed_from.as_deref());
        chain.text(self.changed_to.as_deref());
        URL_SAFE_NO_PAD.encode(chain.finish())
    }
}
