//! Passwords of members: made here, kept as argon2id hashes.

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHasher as _};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::actor::Actor;
use super::audit::{Deed, Event};
use super::error::ControlError;
use super::{Control, random};
use crate::store::members::Member;

/// Letters and digits of a generated password: 142 bits.
const PASSWORD_CHARS: usize = 24;

/// Bytes of a salt.
const SALT_BYTES: usize = 16;

impl Control {
    /// Gives a person a new password, made here. It is shown once, to whoever calls.
    ///
    /// # Errors
    /// [`ControlError::OperatorOnly`] for anybody else; the random source or the store failed.
    pub async fn set_new_password(
        &self,
        actor: &Actor,
        person: &Member,
    ) -> Result<Zeroizing<String>, ControlError> {
        actor.must_be_system()?;
        let password = random::alphanumerics(PASSWORD_CHARS)?;
        let failed = |_| ControlError::Crypto("hashing a password");
        let mut salt = [0_u8; SALT_BYTES];
        rand::fill(&mut salt).map_err(|_| ControlError::Crypto("the random source"))?;
        let salt = SaltString::encode_b64(&salt).map_err(failed)?;
        let hash = Argon2::default()
            .hash_password(password.as_bytes(), &salt)
            .map_err(failed)?
            .to_string();
        let mut tx = self.store.write().await?;
        tx.set_password_hash(&person.account, &hash).await?;
        let event = Event::of_server(Deed::PasswordReset, "account", &person.account, &person.email);
        self.commit(tx, actor, &[], event).await?;
        Ok(password)
    }
}
