//! Passwords of people: chosen by them or made here, kept as argon2id hashes.

use argon2::password_hash::{PasswordHash, SaltString};
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use aws_lc_rs::rand;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::actor::Actor;
use super::audit::{Deed, Event};
use super::error::ControlError;
use super::members::email_address;
use super::{Control, random};
use crate::domain::name::composed;
use crate::store::members::Member;

/// Letters and digits of a generated password: 142 bits.
const PASSWORD_CHARS: usize = 24;

/// The shortest password that people may choose, in characters.
const CHOSEN_CHARS_MIN: usize = 12;

/// The longest password looked at, in bytes.
const BYTES_MAX: usize = 1_024;

/// Bytes of a salt.
const SALT_BYTES: usize = 16;

/// Hashes computed at once, each of which takes 19 MiB.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

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
        let password = random::alphanumerics(PASSWORD_CHARS)?;
        self.reset_password(actor, &person.email, &password).await?;
        Ok(password)
    }

    /// Gives the person with this address the password that the operator chose for them.
    ///
    /// # Errors
    /// [`ControlError::OperatorOnly`] for anybody else, [`ControlError::NotFound`] for the person,
    /// [`ControlError::Invalid`] for a password that cannot be taken.
    pub async fn reset_password(
        &self,
        actor: &Actor,
        email: &str,
        password: &str,
    ) -> Result<(), ControlError> {
        actor.must_be_system()?;
        let email = email_address(email)?;
        let hash = hash_chosen(password).await?;
        let mut tx = self.store.write().await?;
        let person = tx.account_with_email(&email).await?;
        let person = person.ok_or(ControlError::NotFound("person"))?;
        tx.set_password_hash(&person.id, &hash).await?;
        let event = Event::of_server(Deed::PasswordReset, "account", &person.id, &person.email);
        self.commit(tx, actor, &[], event).await
    }
}

/// The hash of a password that somebody chose.
///
/// # Errors
/// [`ControlError::Invalid`] for one that is too short or too long.
pub(super) async fn hash_chosen(password: &str) -> Result<String, ControlError> {
    let password = Zeroizing::new(composed(password));
    if password.len() > BYTES_MAX || password.chars().count() < CHOSEN_CHARS_MIN {
        let problem =
            format!("a password has at least {CHOSEN_CHARS_MIN} characters and at most {BYTES_MAX} bytes");
        return Err(ControlError::invalid("password", problem));
    }
    apart(move || {
        let failed = |_| ControlError::Crypto("hashing a password");
        let mut salt = [0_u8; SALT_BYTES];
        rand::fill(&mut salt).map_err(|_| ControlError::Crypto("the random source"))?;
        let salt = SaltString::encode_b64(&salt).map_err(failed)?;
        let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
        Ok(hash.map_err(failed)?.to_string())
    })
    .await
}

/// Whether a password is the one that was hashed.
pub(super) async fn verify(password: &str, hash: &str) -> Result<bool, ControlError> {
    if password.len() > BYTES_MAX {
        return Ok(false);
    }
    let (password, hash) = (Zeroizing::new(composed(password)), hash.to_owned());
    apart(move || {
        let hash = PasswordHash::new(&hash).map_err(|_| ControlError::Crypto("reading a password's hash"))?;
        Ok(Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok())
    })
    .await
}

/// Does what takes long on a thread where it holds up no request.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ControlError> + Send + 'static,
) -> Result<T, ControlError> {
    let failed = || ControlError::Crypto("hashing a password");
    let _turn = AT_ONCE.acquire().await.map_err(|_| failed())?;
    tokio::task::spawn_blocking(work).await.map_err(|_| failed())?
}
