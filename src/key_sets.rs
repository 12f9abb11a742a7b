//! JWK sets from a URL or a file: read within bounds, entry by entry. Keys that are left out are logged.

use serde::Deserialize;
use serde_json::Value;

use crate::domain::cost;
use crate::domain::key::Algorithm;
use crate::json_problem::json_problem;
use crate::snapshot::{KeyBounds, KeySet, LeftOut, WhyLeftOut};

/// The most keys named in the log for one change of a set.
const NAMED_MAX: usize = 20;

/// Logged for each key that is not used, with why.
const LEFT_OUT: &str = "key left out of the JWKS";
const FURTHER_LEFT_OUT: &str = "further keys left out of the JWKS";

/// RFC 7517 section 5.
#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// Reads a key set.
///
/// # Errors
/// The text is no key set as a whole; a sentence that quotes nothing of it.
pub fn parse(text: &[u8], allowed: &[Algorithm], bounds: KeyBounds) -> Result<KeySet, String> {
    cost::count(text.len());
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let document: Document = serde_json::from_slice(text)
        .map_err(|error| format!("not a JWK set: it {}", json_problem(&error)))?;
    Ok(KeySet::of(&document.keys, allowed, bounds.keys))
}

/// Names in the log what is left out of one issuer's set: once, and again when it changes.
#[derive(Default)]
pub struct LeftOutLog {
    last: Vec<LeftOut>,
}

impl LeftOutLog {
    /// Logs what `set` leaves out and the one before did not. `place` is where the set comes from.
    pub fn note(&mut self, issuer: &str, place: &str, set: &KeySet) {
        let is_known = |key: &LeftOut| {
            let mut last = self.last.iter().take(NAMED_MAX);
            last.any(|held| held.kid == key.kid && held.why == key.why)
        };
        let named = set.left_out.iter().take(NAMED_MAX);
        for key in named.filter(|key| !is_known(key)) {
            let (at, kid, why) = (key.at, key.kid.as_deref().unwrap_or_default(), &key.why);
            // Many issuers publish keys for encryption in the same set.
            if matches!(why, WhyLeftOut::Use) {
                tracing::info!(issuer, place, at, kid, %why, "{LEFT_OUT}");
            } else {
                tracing::warn!(issuer, place, at, kid, %why, "{LEFT_OUT}");
            }
        }
        let more = set.left_out.len().saturating_sub(NAMED_MAX);
        if more > 0 && set.left_out.len() != self.last.len() {
            tracing::warn!(issuer, place, more, "{FURTHER_LEFT_OUT}");
        }
        self.last.clone_from(&set.left_out);
    }
}
