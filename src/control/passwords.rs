//! Passwords of members: made here, kept as argon2id hashes.

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHasher as _};
use zeroize::Zeroizing;

use super::error::ControlError;
use super::{Control, random};
use crate::domain::ids::MemberId;

/// Letters and digits of a generated password: 142 bits.
const PASSWORD_CHARS: usize = 24;

/// Letters and digits of a salt.
const SALT_CHARS: usize = 22;

impl Control {
    /// Gives a member a new password, made here. It is shown once, to whoever calls.
    ///
    /// # Errors
    /// The random source or the store failed.
    pub async fn set_new_password(&self, member: &MemberId) -> Result<Zeroizing<String>, ControlError> {
        let password = random::alphanumerics(PASSWORD_CHARS)?;
        let failed = |_| ControlError::Crypto("hashing a password");
        let salt = SaltString::from_b64(&random::alphanumerics(SALT_CHARS)?).map_err(failed)?;
        let hash = Argon2::default()
            .hash_password(password.as_bytes(), &salt)
            .map_err(failed)?
            .to_string();
        let mut tx = self.store().write().await?;
        tx.set_password_hash(member, &hash).await?;
        self.commit(tx, &[]).await?;
        Ok(password)
    }
}
