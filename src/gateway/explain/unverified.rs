//! Claims of a token that did not verify: shown to find the mistake, and marked as what they are.

use crate::domain::jws::CompactJws;

/// The longest claim shown, in characters.
const SHOWN_MAX: usize = 100;

/// Claims that tell whose token it is.
const CLAIMS: [&str; 4] = ["iss", "client_id", "sub", "aud"];

/// What an unverified token says of itself, or nothing where it cannot be taken apart.
pub(crate) fn claims(token: &str, bytes_max: usize) -> Option<String> {
    let jws = CompactJws::parse_at_most(token, bytes_max).ok()?;
    let mut said = Vec::new();
    if let Some(kid) = jws.key_id() {
        said.push(format!("kid `{}`", shown(kid.as_str())));
    }
    if let Ok(claims) = jws.unverified_claims() {
        for name in CLAIMS {
            if let Ok(Some(text)) = claims.optional_text(name) {
                said.push(format!("{name} `{}`", shown(text)));
            }
        }
        if let Ok(Some(at)) = claims.optional_date("exp") {
            said.push(format!("exp {at}"));
        }
    }
    (!said.is_empty()).then(|| format!("the token says, unverified: {}", said.join(", ")))
}

fn shown(text: &str) -> String {
    let mut out: String = text
        .chars()
        .take(SHOWN_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        out.push('…');
    }
    out
}
