//! Password hashing: Argon2id, with a bounded number of concurrent hashes.

use crate::control::error::ControlError;
use crate::control::fair_queue;
use crate::control::fair_queue::Lane;
use crate::control::fair_queue::Turn;
use crate::control::fair_queue::Turns;
use crate::control::limiter::Wait;
use crate::domain::ids::AccountId;
use crate::domain::name::composed;
use crate::store::WriteTx;
use crate::store::accounts::HASH_CHARS;
use crate::store::accounts::PREFIXES_MAX;
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

/// The most hashes computed at once.
pub(crate) const AT_ONCE: usize = 2;

/// The shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 12;

/// The longest password, in bytes.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1_024;

/// Bytes of a salt.
pub(crate) const SALT_BYTES: usize = 16;

/// The prefix that is hashed with if the account has no password, so that it takes the same time.
pub(crate) const DUMMY_PREFIX: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$";

/// Computes hashes, a bounded number at a time.
pub struct Hashing {
    turns: Turns,
    /// Hashes computed so far, each tens of milliseconds of CPU.
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

    /// Waits for a turn to compute a hash.
    ///
    /// # Errors
    /// [`ControlError::TooMany`] if too many are waiting. No hash was computed.
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

    /// Hashes a password to store it: with a new salt, or with the salt of one of `prefixes`, those of the other
    /// passwords of the same address.
    pub async fn hash(
        &self,
        turn: Turn,
        password: Zeroizing<String>,
        prefixes: Vec<String>,
    ) -> Result<String, ControlError> {
        self.run(turn, move || {
            let shared = prefixes.iter().find(|prefix| has_current_parameters(prefix));
            match shared.and_then(|prefix| hash_with_prefix(prefix, &password)) {
                Some(hash) => Ok(hash),
                None => hash(&password),
            }
        })
        .await
    }

    /// What a password hashes to with each of these prefixes. Without any, it takes as long as with one.
    pub async fn hash_with_prefixes(
        &self,
        turn: Turn,
        password: Zeroizing<String>,
        prefixes: Vec<String>,
    ) -> Result<Vec<String>, ControlError> {
        self.run(turn, move || {
            let known = prefixes.iter().take(PREFIXES_MAX);
            let hashes: Vec<String> = known
                .filter_map(|prefix| hash_with_prefix(prefix, &password))
                .collect();
            if hashes.is_empty() {
                hash_with_prefix(DUMMY_PREFIX, &password)
                    .ok_or(ControlError::Crypto("hashing a password"))?;
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
            // Held until the work is done, even if the caller has gone.
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

/// Normalises a password: the same characters are the same bytes on every keyboard (RFC 8265 section 4.2).
///
/// # Errors
/// `None` if no stored password can match.
pub fn normalize(password: &str) -> Option<Zeroizing<String>> {
    if password.len() > PASSWORD_BYTES_MAX {
        return None;
    }
    Some(Zeroizing::new(composed(password)))
}

/// Validates a password that a person chose.
///
/// # Errors
/// [`ControlError::Invalid`] says what is wrong with it, without quoting it.
pub fn validate_new(password: &str, email: &str) -> Result<Zeroizing<String>, ControlError> {
    let refused = |problem: String| Err(ControlError::invalid("password", problem));
    let Some(typed) = normalize(password) else {
        return refused(format!("choose a password of at most {PASSWORD_BYTES_MAX} bytes"));
    };
    if typed.chars().any(char::is_control) {
        return refused("choose a password without control characters".to_owned());
    }
    if typed.chars().count() < PASSWORD_CHARS_MIN {
        return refused(format!(
            "choose a password of at least {PASSWORD_CHARS_MIN} characters"
        ));
    }
    if typed.to_lowercase() == email {
        return refused("choose a password that is not the email address".to_owned());
    }
    Ok(typed)
}

/// Queue places for people who are known: in all, then in one /32, /48, /56 and /64 (/8, /16, /24 and address of
/// IPv4), then for one person. Who finds no place waits in the open queue.
pub(crate) const KNOWN_PLACES: &[usize] = &[32, 32, 24, 16, 12, 4];

/// The same for everybody else. Each waits for the others before it, at most about two seconds.
pub(crate) const OPEN_PLACES: &[usize] = &[64, 48, 32, 24, 16];

/// For whom a hash is computed. It does not depend on whether the account exists, and neither does the wait.
pub enum Asker<'a> {
    /// The operator, on the command line.
    Operator,
    /// A person, by their email address, who has proved that they were here before: with a live session, or with the
    /// secret of a known browser. Naming a person proves nothing.
    Known { email: &'a str, from: IpAddr },
    /// Anybody else.
    Stranger(IpAddr),
}

/// The beginning of every prefix with the current parameters.
pub(crate) const CURRENT_PARAMETERS: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

/// What a password hashes to with a prefix; `None` if the prefix is invalid.
pub(crate) fn hash_with_prefix(prefix: &str, password: &str) -> Option<String> {
    let whole = format!("{prefix}{}", "A".repeat(HASH_CHARS));
    let parsed = PasswordHash::new(&whole).ok()?;
    let params = Params::try_from(&parsed).ok()?;
    let hash = argon2().ok()?.hash_password_customized(
        password.as_bytes(),
        Some(parsed.algorithm),
        parsed.version,
        params,
        parsed.salt?,
    );
    Some(format!("{prefix}{}", hash.ok()?.hash?))
}

/// Whether a hash or a prefix has the current parameters.
pub fn has_current_parameters(hash: &str) -> bool {
    hash.starts_with(CURRENT_PARAMETERS)
}

/// The prefix of a hash: algorithm, parameters and salt.
pub(crate) fn prefix_of(hash: &str) -> &str {
    let end = hash.len().saturating_sub(HASH_CHARS);
    hash.get(..end).unwrap_or_default()
}

/// Whether a hash has the same salt as the current ones among these prefixes of the same address, if any.
pub fn shares_salt(hash: &str, prefixes: &[String]) -> bool {
    let mut today = prefixes
        .iter()
        .filter(|prefix| has_current_parameters(prefix))
        .peekable();
    today.peek().is_none() || today.any(|prefix| prefix == prefix_of(hash))
}

/// Rejects a hash that was computed while the first password of the address was being set: its salt differs.
pub async fn check_salt(
    tx: &mut WriteTx,
    account: &AccountId,
    email: &str,
    hash: &str,
) -> Result<(), ControlError> {
    let prefixes = tx.other_password_prefixes(email, account).await?;
    if shares_salt(hash, &prefixes) {
        Ok(())
    } else {
        Err(ControlError::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_matches_its_own_hash_only() {
        let kept = hash("correct horse battery").unwrap();
        assert!(has_current_parameters(&kept), "{kept}");
        assert_eq!(
            hash_with_prefix(prefix_of(&kept), "correct horse battery"),
            Some(kept.clone())
        );
        assert_ne!(
            hash_with_prefix(prefix_of(&kept), "correct horse batter"),
            Some(kept.clone())
        );
        let other = hash("correct horse battery").unwrap();
        assert_ne!(prefix_of(&kept), prefix_of(&other), "each has a salt of its own");
        assert!(shares_salt(&kept, &[prefix_of(&kept).to_owned()]) && shares_salt(&kept, &[]));
        assert!(!shares_salt(&kept, &[prefix_of(&other).to_owned()]));
        let nobodys = hash_with_prefix(DUMMY_PREFIX, "").unwrap();
        assert_eq!(prefix_of(&nobodys), DUMMY_PREFIX);
        assert_eq!(
            CURRENT_PARAMETERS,
            format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1$")
        );
        for damaged in ["", "hash", "$", "argon2id$v=19$"] {
            assert_eq!(
                hash_with_prefix(damaged, "correct horse battery"),
                None,
                "{damaged}"
            );
        }
    }

    #[test]
    fn hash_with_earlier_parameters_is_still_accepted() {
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
            hash_with_prefix(prefix_of(&kept), "correct horse battery"),
            Some(kept.clone())
        );
        assert!(!has_current_parameters(&kept));
        // Another password of the address does not take over its parameters.
        assert!(shares_salt(
            &hash("another one").unwrap(),
            &[prefix_of(&kept).to_owned()]
        ));
    }

    #[test]
    fn passwords_are_validated_and_normalised() {
        let composed = validate_new("caf\u{e9} au lait!", "a@b.c").unwrap();
        assert_eq!(composed, validate_new("cafe\u{301} au lait!", "a@b.c").unwrap());
        for (password, email) in [
            ("elevenchars", "a@b.c"),
            ("twelve\u{0}chars", "a@b.c"),
            ("Owner@Example.com", "owner@example.com"),
            (&"x".repeat(1_025), "a@b.c"),
        ] {
            assert!(validate_new(password, email).is_err());
        }
    }
}
