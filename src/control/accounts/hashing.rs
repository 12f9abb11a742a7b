//! Password hashing: Argon2id, a bounded number of hashes at a time.

use crate::control::error::ControlError;
use crate::control::fair_queue;
use crate::control::fair_queue::Lane;
use crate::control::fair_queue::Turn;
use crate::control::fair_queue::Turns;
use crate::control::limiter::Wait;
use crate::domain::ids::AccountId;
use crate::domain::name::composed;
use crate::store::WriteTx;
use crate::store::accounts::FORMS_MAX;
use crate::store::accounts::HASH_CHARS;
use argon2::Algorithm;
use argon2::Argon2;
use argon2::Params;
use argon2::PasswordHasher as _;
use argon2::Version;
use argon2::password_hash::PasswordHash;
use argon2::password_hash::SaltString;
use aws_lc_rs::rand;
use prometheus::IntCounter;
use std::net::IpAddr;
use zeroize::Zeroizing;

/// Memory of one hash, in KiB.
pub(crate) const MEMORY_KIB: u32 = 19 * 1024;

/// Passes over that memory.
pub(crate) const PASSES: u32 = 2;

/// Hashes computed at one moment.
pub(crate) const AT_ONCE: usize = 2;

/// The shortest password taken, in characters.
pub const PASSWORD_CHARS_MIN: usize = 12;

/// The longest password taken, in bytes.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1_024;

/// Bytes of a salt.
pub(crate) const SALT_BYTES: usize = 16;

/// The form that is computed where there is no hash, since that takes as long as any other.
pub(crate) const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$";

/// Computes hashes, a bounded number at a time.
pub struct Hashing {
    turns: Turns,
    /// Hashes computed so far, each some tens of milliseconds of a core.
    computed: IntCounter,
}

impl Hashing {
    pub fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            turns: Turns::new(AT_ONCE, KNOWN_PLACES, OPEN_PLACES),
            computed: IntCounter::new(
                "portcullis_password_hashes_total",
                "Password hashes computed, for sign-ins that succeed or not.",
            )?,
        })
    }

    pub fn computed(&self) -> &IntCounter {
        &self.computed
    }

    /// Waits for a turn at computing a hash.
    ///
    /// # Errors
    /// [`ControlError::TooMany`] where too many wait already. No hash was computed then.
    pub async fn turn(&self, asker: Asker<'_>) -> Result<Turn, ControlError> {
        let turn = match asker {
            Asker::Operator => self.turns.take(Lane::Known, vec![0]).await,
            Asker::Stranger(from) => self.turns.take(Lane::Open, fair_queue::networks(from)).await,
            Asker::Known { email, from } => {
                let mut path = fair_queue::networks(from);
                path.push(fair_queue::name(email));
                match self.turns.take(Lane::Known, path).await {
                    Ok(turn) => Ok(turn),
                    Err(_) => self.turns.take(Lane::Open, fair_queue::networks(from)).await,
                }
            }
        };
        turn.map_err(|_| ControlError::TooMany(Wait::SHORTEST))
    }

    /// The hash that is kept of a password, with a salt of its own, or with that of one of `forms`, which the other
    /// passwords of the same address have.
    pub async fn hash(
        &self,
        turn: Turn,
        password: Zeroizing<String>,
        forms: Vec<String>,
    ) -> Result<String, ControlError> {
        self.run(turn, move || {
            let shared = forms.iter().find(|form| is_of_today(form));
            match shared.and_then(|form| hash_in(form, &password)) {
                Some(hash) => Ok(hash),
                None => hash(&password),
            }
        })
        .await
    }

    /// What a password would hash to in each of these forms. Where there is none, it takes as long as for one.
    pub async fn hash_in_forms(
        &self,
        turn: Turn,
        password: Zeroizing<String>,
        forms: Vec<String>,
    ) -> Result<Vec<String>, ControlError> {
        self.run(turn, move || {
            let known = forms.iter().take(FORMS_MAX);
            let hashes: Vec<String> = known.filter_map(|form| hash_in(form, &password)).collect();
            if hashes.is_empty() {
                hash_in(NOBODYS, &password).ok_or(ControlError::Crypto("hashing a password"))?;
            }
            Ok(hashes)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        turn: Turn,
        work: impl FnOnce() -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, ControlError> {
        self.computed.inc();
        let task = tokio::task::spawn_blocking(move || {
            // Held until the work is done, even if nobody waits for it any more.
            let _held = turn;
            work()
        });
        task.await
            .map_err(|_| ControlError::Crypto("hashing a password"))?
    }
}

pub(crate) fn argon2() -> Result<Argon2<'static>, ControlError> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None);
    let params = params.map_err(|_| ControlError::Crypto("hashing a password"))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

pub(crate) fn hash(password: &str) -> Result<String, ControlError> {
    let failed = |_| ControlError::Crypto("hashing a password");
    let mut salt = [0_u8; SALT_BYTES];
    rand::fill(&mut salt).map_err(|_| ControlError::Crypto("the random source"))?;
    let salt = SaltString::encode_b64(&salt).map_err(failed)?;
    let hash = argon2()?.hash_password(password.as_bytes(), &salt);
    Ok(hash.map_err(failed)?.to_string())
}

/// A password as it is hashed: whatever keyboard wrote it, the same characters are the same bytes (RFC 8265
/// section 4.2).
///
/// # Errors
/// `None` for one that nobody can have.
pub fn typed(password: &str) -> Option<Zeroizing<String>> {
    if password.len() > PASSWORD_BYTES_MAX {
        return None;
    }
    Some(Zeroizing::new(composed(password)))
}

/// A password that somebody chose.
///
/// # Errors
/// [`ControlError::Invalid`] says what is wrong with it, and nothing of it.
pub fn chosen(password: &str, email: &str) -> Result<Zeroizing<String>, ControlError> {
    let refused = |problem: String| Err(ControlError::invalid("password", problem));
    let Some(typed) = typed(password) else {
        return refused(format!("a password has at most {PASSWORD_BYTES_MAX} bytes"));
    };
    if typed.chars().any(char::is_control) {
        return refused("a password has no control characters".to_owned());
    }
    if typed.chars().count() < PASSWORD_CHARS_MIN {
        return refused(format!("a password has at least {PASSWORD_CHARS_MIN} characters"));
    }
    if typed.to_lowercase() == email {
        return refused("a password is not the e-mail address".to_owned());
    }
    Ok(typed)
}

/// Places to wait at for people who are known: in all, then in one /32, /48, /56 and /64 (/8, /16, /24 and address of
/// IPv4), then for one person. Who finds no place there waits with everybody else.
pub(crate) const KNOWN_PLACES: &[usize] = &[32, 32, 24, 16, 12, 4];

/// The same for everybody else. Each waits at most for the others before it, about two seconds.
pub(crate) const OPEN_PLACES: &[usize] = &[64, 48, 32, 24, 16];

/// For whom a hash is computed. It says nothing of whether there is such an account: neither does how long they wait.
pub enum Asker<'a> {
    /// The operator, with the command line.
    Operator,
    /// A person, by their e-mail address, who has proved that they were here before: with a session that lives, or
    /// with the secret of a browser that they have signed in from. To name a person proves nothing.
    Known { email: &'a str, from: IpAddr },
    /// Anybody else.
    Stranger(IpAddr),
}

/// What the forms of today's hashes begin with.
pub(crate) const TODAY: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

/// What a password hashes to with the algorithm, the parameters and the salt of a form; none where they make no sense.
pub(crate) fn hash_in(form: &str, password: &str) -> Option<String> {
    let whole = format!("{form}{}", "A".repeat(HASH_CHARS));
    let parsed = PasswordHash::new(&whole).ok()?;
    let params = Params::try_from(&parsed).ok()?;
    let hash = argon2().ok()?.hash_password_customized(
        password.as_bytes(),
        Some(parsed.algorithm),
        parsed.version,
        params,
        parsed.salt?,
    );
    Some(format!("{form}{}", hash.ok()?.hash?))
}

/// Whether a hash or its form has today's parameters.
pub fn is_of_today(hash: &str) -> bool {
    hash.starts_with(TODAY)
}

/// The form of a hash: what does not follow from the password.
pub(crate) fn form_of(hash: &str) -> &str {
    let end = hash.len().saturating_sub(HASH_CHARS);
    hash.get(..end).unwrap_or_default()
}

/// Whether a hash has the salt that the passwords of the same address with these forms have, if any has today's.
pub fn shares_salt(hash: &str, forms: &[String]) -> bool {
    let mut today = forms.iter().filter(|form| is_of_today(form)).peekable();
    today.peek().is_none() || today.any(|form| form == form_of(hash))
}

/// Refuses a hash that was computed while the first password of the address was set: it does not have that one's
/// salt.
pub async fn check_salt(
    tx: &mut WriteTx,
    account: &AccountId,
    email: &str,
    hash: &str,
) -> Result<(), ControlError> {
    let forms = tx.password_forms_but(email, account).await?;
    if shares_salt(hash, &forms) {
        Ok(())
    } else {
        Err(ControlError::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_hashes_to_itself_in_its_own_form_only() {
        let kept = hash("correct horse battery").unwrap();
        assert!(is_of_today(&kept), "{kept}");
        assert_eq!(
            hash_in(form_of(&kept), "correct horse battery"),
            Some(kept.clone())
        );
        assert_ne!(
            hash_in(form_of(&kept), "correct horse batter"),
            Some(kept.clone())
        );
        let other = hash("correct horse battery").unwrap();
        assert_ne!(form_of(&kept), form_of(&other), "each has a salt of its own");
        assert!(shares_salt(&kept, &[form_of(&kept).to_owned()]) && shares_salt(&kept, &[]));
        assert!(!shares_salt(&kept, &[form_of(&other).to_owned()]));
        let nobodys = hash_in(NOBODYS, "").unwrap();
        assert_eq!(form_of(&nobodys), NOBODYS);
        assert_eq!(TODAY, format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1$"));
        for damaged in ["", "hash", "$", "argon2id$v=19$"] {
            assert_eq!(hash_in(damaged, "correct horse battery"), None, "{damaged}");
        }
    }

    #[test]
    fn hash_with_weaker_parameters_is_still_checked() {
        let weak = Argon2::new(
            Algorithm::Argon2id,
            Version::V0x13,
            Params::new(8 * 1024, 1, 1, None).unwrap(),
        );
        let salt = SaltString::encode_b64(&[7; SALT_BYTES]).unwrap();
        let kept = weak
            .hash_password(b"correct horse battery", &salt)
            .unwrap()
            .to_string();
        assert_eq!(
            hash_in(form_of(&kept), "correct horse battery"),
            Some(kept.clone())
        );
        assert!(!is_of_today(&kept));
        // Another password of the address does not take over its parameters.
        assert!(shares_salt(
            &hash("another one").unwrap(),
            &[form_of(&kept).to_owned()]
        ));
    }

    #[test]
    fn chosen_passwords_are_long_enough_and_the_same_from_every_keyboard() {
        let composed = chosen("caf\u{e9} au lait!", "a@b.c").unwrap();
        assert_eq!(composed, chosen("cafe\u{301} au lait!", "a@b.c").unwrap());
        for (password, email) in [
            ("elevenchars", "a@b.c"),
            ("twelve\u{0}chars", "a@b.c"),
            ("Owner@Example.com", "owner@example.com"),
            (&"x".repeat(1_025), "a@b.c"),
        ] {
            assert!(chosen(password, email).is_err());
        }
    }
}
