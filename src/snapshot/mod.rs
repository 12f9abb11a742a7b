//! The seam: the wire form of what a gateway must know, and its compilation into a [`Policy`].
//!
//! A gateway is fed one [`Snapshot`] and then [`Changes`], version by version, whether the control plane
//! runs in the same process, elsewhere, or is a file. Nothing else passes from control to gateway. What
//! comes back is the version last installed.
//!
//! Compilation is total: a bad snapshot or change is an [`InvalidSnapshot`] that names the field, and
//! the policy in force stays.

pub(crate) mod apply;
pub(crate) mod compile;
mod key_set;
mod records;
pub(crate) mod wire;

pub use crate::snapshot::apply::{
    apply, confirm, not_confirmed_after, with_clock_step, with_issuer_keys, with_own_audience,
    without_revocations,
};
pub use crate::snapshot::compile::compile;
pub use crate::snapshot::key_set::{Jwk, KeyBounds, KeySet, LeftOut, SAME_ID_MAX, WhyLeftOut, jwk};
pub use crate::snapshot::wire::{
    AppRecord, Change, Changes, FORMAT, InvalidSnapshot, IssuerRecord, OWN_LEEWAY_S, RevocationRecord,
    Snapshot, SourceRecord, Update, WorkspaceRecord, digest_text,
};
