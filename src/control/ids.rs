//! New identifiers and secrets.

use std::sync::Mutex;

use aws_lc_rs::rand;
use uuid::{ContextV7, Timestamp, Uuid};
use zeroize::Zeroizing;

use super::error::ControlError;
use crate::domain::ids::{AppId, InvalidId};
use crate::domain::time::UnixSeconds;
use crate::domain::token_id;

const ALPHANUMERIC: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Makes identifiers that sort by the time they were made.
pub struct Ids(Mutex<ContextV7>);

impl Ids {
    pub fn new() -> Self {
        Self(Mutex::new(ContextV7::new()))
    }

    /// A new identifier, `prefix` and a version 7 UUID, as the type that `parse` makes.
    pub fn make<T>(
        &self,
        prefix: &str,
        parse: impl FnOnce(&str) -> Result<T, InvalidId>,
        now: UnixSeconds,
    ) -> Result<T, ControlError> {
        parse(&self.text(prefix, now)).map_err(|_| ControlError::Crypto("making an identifier"))
    }

    /// A new identifier as text.
    pub fn text(&self, prefix: &str, now: UnixSeconds) -> String {
        let uuid = Uuid::new_v7(Timestamp::from_unix(&self.0, now.0, 0));
        format!("{prefix}_{}", uuid.simple())
    }
}

/// `length` random letters and digits, 5.95 bits each.
pub fn alphanumerics(length: usize) -> Result<Zeroizing<String>, ControlError> {
    let mut text = Zeroizing::new(String::with_capacity(length));
    let mut bytes = Zeroizing::new([0_u8; 64]);
    while text.len() < length {
        rand::fill(bytes.as_mut_slice()).map_err(|_| ControlError::Crypto("random numbers"))?;
        for byte in bytes.iter() {
            // 248 is four times 62: larger bytes would make some letters likelier than others.
            if *byte < 248
                && text.len() < length
                && let Some(letter) = ALPHANUMERIC.get(usize::from(byte % 62))
            {
                text.push(char::from(*letter));
            }
        }
    }
    Ok(text)
}

/// A number as `length` letters and digits, the most significant first.
pub fn in_alphanumerics(mut number: u64, length: usize) -> String {
    let mut text = vec!['0'; length];
    for place in text.iter_mut().rev() {
        let digit = usize::try_from(number % 62).unwrap_or_default();
        number /= 62;
        if let Some(letter) = ALPHANUMERIC.get(digit) {
            *place = char::from(*letter);
        }
    }
    text.into_iter().collect()
}

/// A new token id (`jti`) for a token of `app` that expires at `expires_at`.
pub fn token_id(app: &AppId, expires_at: UnixSeconds) -> Result<String, ControlError> {
    let mut bytes = [0_u8; token_id::RANDOM_BYTES];
    rand::fill(&mut bytes).map_err(|_| ControlError::Crypto("random numbers"))?;
    Ok(token_id::make(app, expires_at, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_sort_in_the_order_they_were_made_even_within_one_second() {
        let ids = Ids::new();
        let made: Vec<_> = (0..1000)
            .map(|_| ids.text("app", UnixSeconds(1_700_000_000)))
            .collect();
        assert!(made.is_sorted_by(|a, b| a < b));
        assert!(made.iter().all(|id| id.len() == "app_".len() + 32));
    }

    #[test]
    fn secrets_have_their_length_and_differ() {
        let (one, other) = (alphanumerics(200).unwrap(), alphanumerics(200).unwrap());
        assert_eq!(one.len(), 200);
        assert_ne!(one, other);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}
