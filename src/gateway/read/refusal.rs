//! Why a request is refused: the reason, and where it helps a sentence about this one request.

use std::borrow::Cow;

use crate::domain::decision::DenyReason;

/// A reason, and what more there is to say to the person who reads the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: DenyReason,
    /// In place of the reason's own sentence. It quotes nothing that the client sent.
    pub detail: Option<Cow<'static, str>>,
}

impl Refusal {
    /// A reason with a sentence of its own.
    #[must_use]
    pub fn because(reason: DenyReason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            detail: Some(detail.into()),
        }
    }
}

impl From<DenyReason> for Refusal {
    fn from(reason: DenyReason) -> Self {
        Self { reason, detail: None }
    }
}
