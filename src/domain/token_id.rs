//! Token ids (`jti`), and how our own are made.
//!
//! Such an id says when its token expires and carries a check of the app that it belongs to. So a token can be
//! revoked by its id alone: the entry expires with the token, and no one can name a token of another app. The check
//! needs no secret, since an existing id cannot be made to fit another app.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::digest::ShortDigest;
use super::ids::AppId;
use super::time::UnixSeconds;

/// The longest token id (`jti`) accepted, in bytes.
pub const TOKEN_ID_BYTES_MAX: usize = 256;

/// Random bytes of an id: 88 bits, among the tokens of one app that expire in one second.
pub const RANDOM_BYTES: usize = 11;

/// Bytes of the moment; the year 36,812 is far enough.
const MOMENT_BYTES: usize = 5;

const CHECK_BYTES: usize = 8;

/// The id of a token of `app` that expires at `expires_at`.
#[must_use]
pub fn make(app: &AppId, expires_at: UnixSeconds, random: [u8; RANDOM_BYTES]) -> String {
    let [_, _, _, moment @ ..] = expires_at.0.to_be_bytes();
    let named = [moment.as_slice(), &random].concat();
    URL_SAFE_NO_PAD.encode([named.as_slice(), &check(app, &named)].concat())
}

/// When the token with this id expires, if it can be one of `app`'s.
#[must_use]
pub fn expiry(app: &AppId, id: &str) -> Option<UnixSeconds> {
    let bytes: [u8; MOMENT_BYTES + RANDOM_BYTES + CHECK_BYTES] =
        URL_SAFE_NO_PAD.decode(id).ok()?.try_into().ok()?;
    let (named, given) = bytes.split_at_checked(MOMENT_BYTES + RANDOM_BYTES)?;
    let (moment, _) = named.split_at_checked(MOMENT_BYTES)?;
    let moment = moment.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    (check(app, named) == given).then_some(UnixSeconds(moment))
}

/// Whether a text has the form of a token ID.
#[must_use]
pub fn has_form(id: &str) -> bool {
    let bytes = URL_SAFE_NO_PAD.decode(id);
    bytes.is_ok_and(|bytes| bytes.len() == MOMENT_BYTES + RANDOM_BYTES + CHECK_BYTES)
}

fn check(app: &AppId, named: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = ShortDigest::of("jti", &[app.as_str().as_bytes(), named]);
    let [check @ .., _, _, _, _, _, _, _, _] = digest.to_bytes();
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_fits_its_app_alone_and_says_when_it_ends() {
        let [app, other] = ["app_1", "app_2"].map(|id| AppId::parse(id).unwrap());
        let until = UnixSeconds(1_795_323_600);
        let id = make(&app, until, [7; RANDOM_BYTES]);
        assert_eq!(id.len(), 32);
        assert_eq!(expiry(&app, &id), Some(until));
        assert_eq!(expiry(&other, &id), None);
        for at in 0..id.len() {
            let mut changed = id.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(expiry(&app, std::str::from_utf8(&changed).unwrap()), None, "{at}");
        }
        for bad in [
            "",
            "x",
            id.get(1..).unwrap(),
            &format!("{id}A"),
            &format!("{id}="),
            "öööööööööööööööö",
        ] {
            assert_eq!(expiry(&app, bad), None, "{bad}");
        }
    }
}
