//! Password hashing: Argon2id, a bounded number of hashes at a time.

use crate::control::error::ControlError;
use crate::control::fair_queue;
use crate::control::fair_queue::Lane;
use crate::control::fair_queue::Turn;
use crate::control::fair_queue::Turns;
use crate::control::limiter::Wait;
use crate::domain::name::composed;
use argon2::Algorithm;
use argon2::Argon2;
use argon2::Params;
use argon2::PasswordHasher as _;
use argon2::PasswordVerifier as _;
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

/// What is checked where there is no hash: no password fits it, and checking it takes as long as any other.
pub(crate) const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Computes hashes, a bounded number at a time.
pub struct Hashing {
    turns: Turns,
    /// Hashes computed so far, each some tens of milliseconds of a core.
    computed: IntCounter,
}

/// What a check found.
pub struct Checked {
    pub fits: bool,
    /// A hash of the same password with today's parameters, where the one it fits has others.
    pub upgraded: Option<String>,
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

    /// The hash that is kept of a password.
    pub async fn hash(&self, turn: Turn, password: Zeroizing<String>) -> Result<String, ControlError> {
        self.run(turn, move || hash(&password)).await
    }

    /// Checks a password against the hash that is kept of it, or against nobody's where there is none.
    pub async fn check(
        &self,
        turn: Turn,
        password: Zeroizing<String>,
        kept: Option<String>,
    ) -> Result<Checked, ControlError> {
        self.run(turn, move || check(&password, kept.as_deref())).await
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

pub(crate) fn check(password: &str, kept: Option<&str>) -> Result<Checked, ControlError> {
    let parsed = PasswordHash::new(kept.unwrap_or(NOBODYS));
    let parsed = parsed.map_err(|_| ControlError::Crypto("reading a password's hash"))?;
    let fits = argon2()?.verify_password(password.as_bytes(), &parsed).is_ok() && kept.is_some();
    let is_of_today = Params::try_from(&parsed).is_ok_and(|params| {
        (params.m_cost(), params.t_cost(), params.p_cost()) == (MEMORY_KIB, PASSES, 1)
            && parsed.algorithm.as_str() == "argon2id"
    });
    Ok(Checked {
        fits,
        upgraded: if fits && !is_of_today {
            Some(hash(password)?)
        } else {
            None
        },
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_own_hash_and_nothing_fits_nobodys() {
        let kept = hash("correct horse battery").unwrap();
        let found = check("correct horse battery", Some(&kept)).unwrap();
        assert!(found.fits && found.upgraded.is_none());
        assert!(!check("correct horse batter", Some(&kept)).unwrap().fits);
        for password in ["", "correct horse battery"] {
            assert!(!check(password, None).unwrap().fits);
        }
        let nobodys = PasswordHash::new(NOBODYS).unwrap();
        let params = Params::try_from(&nobodys).unwrap();
        assert_eq!(
            (params.m_cost(), params.t_cost(), params.p_cost()),
            (MEMORY_KIB, PASSES, 1)
        );
    }

    #[test]
    fn a_weaker_hash_is_upgraded_when_its_password_comes() {
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
        let found = check("correct horse battery", Some(&kept)).unwrap();
        let upgraded = found.upgraded.unwrap();
        assert!(
            upgraded.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{upgraded}"
        );
        assert!(check("correct horse battery", Some(&upgraded)).unwrap().fits);
        assert!(check("wrong", Some(&kept)).unwrap().upgraded.is_none());
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
