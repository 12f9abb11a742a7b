//! An account: a person, and whether their address is verified.

use crate::domain::ids::AccountId;
use crate::domain::time::UnixSeconds;

/// A person.
#[derive(Clone, Debug)]
pub struct Account {
    pub id: AccountId,
    /// Normalised.
    pub email: String,
    pub created_at: UnixSeconds,
    /// When the person proved that the address is theirs, if they have.
    pub verified_at: Option<UnixSeconds>,
}
