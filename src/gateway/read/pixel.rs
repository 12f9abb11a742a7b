//! The write keys of an image request, as it stands in an e-mail: `data`, which is base64 of one JSON object with a
//! `writeKey` in it, or `writeKey` itself.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::body_keys::WRITE_KEY_PARAMETER;
use super::json::scan::{BodyKeys, scan};
use super::json::scan_error::ScanError;
use super::query;
use crate::domain::cost;

/// The parameter that holds the event.
pub(crate) const DATA_PARAMETER: &str = "data";

/// With or without padding; no bits left over.
const STRICT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The same, and with bits left over.
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why an image request cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFault {
    /// `data` is not base64 of one JSON object, or has a `+`, which some servers read as a space.
    Data,
    /// Servers differ in what they find.
    Ambiguous,
}

/// What an image request names.
#[derive(Default)]
pub(super) struct Pixel {
    /// Values of `writeKey`.
    pub(super) keys: SmallVec<[Zeroizing<Vec<u8>>; 1]>,
    /// What the JSON objects name.
    pub(super) data: SmallVec<[BodyKeys; 1]>,
}

/// Reads the query of an image request.
///
/// # Errors
/// [`PixelFault`].
pub(super) fn read(held: Option<&str>) -> Result<Pixel, PixelFault> {
    if [DATA_PARAMETER, WRITE_KEY_PARAMETER]
        .iter()
        .any(|name| query::has_odd_spelling(held, name))
    {
        return Err(PixelFault::Ambiguous);
    }
    let mut pixel = Pixel {
        keys: query::values(held, WRITE_KEY_PARAMETER).collect(),
        data: SmallVec::new(),
    };
    for value in query::raw_values(held, DATA_PARAMETER) {
        if value.contains('+') {
            return Err(PixelFault::Data);
        }
        let json = STRICT
            .decode(in_one_alphabet(&query::decoded(value)))
            .map(Zeroizing::new);
        let json = json.map_err(|_| PixelFault::Data)?;
        pixel.data.push(scan(&json).map_err(|error| match error {
            ScanError::Ambiguous => PixelFault::Ambiguous,
            ScanError::Invalid | ScanError::TooDeep => PixelFault::Data,
        })?);
    }
    Ok(pixel)
}

/// What a server may read out of a `data` parameter, decoded as forgivingly as any decoder does: bytes of no alphabet
/// are left out.
///
/// # Errors
/// The object names two sources.
pub(super) fn read_forgivingly(data: &[u8]) -> Result<BodyKeys, ScanError> {
    let mut letters = in_one_alphabet(data);
    letters.retain(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    // A letter too many makes no byte.
    if letters.len() % 4 == 1 {
        letters.pop();
    }
    let json = FORGIVING.decode(&*letters).map(Zeroizing::new);
    match json.map_err(|_| ScanError::Invalid).and_then(|json| scan(&json)) {
        Err(ScanError::Invalid | ScanError::TooDeep) => Ok(BodyKeys::default()),
        other => other,
    }
}

/// Base64 in the standard alphabet, of what may be in that of URLs.
pub(super) fn in_one_alphabet(encoded: &[u8]) -> Zeroizing<Vec<u8>> {
    cost::count(encoded.len());
    let letters = encoded.iter().map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    });
    Zeroizing::new(letters.collect())
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};

    use super::*;
    use crate::domain::ids::WriteKeyDigest;

    const EVENT: &str = r#"{"event":"open>?~","writeKey":"k"}"#;

    #[test]
    fn data_is_read_in_every_form_of_base64() {
        let key = Some(WriteKeyDigest::of(b"k"));
        for encoded in [
            STANDARD.encode(EVENT),
            STANDARD_NO_PAD.encode(EVENT),
            URL_SAFE.encode(EVENT),
        ] {
            let escaped = encoded
                .replace('+', "%2B")
                .replace('=', "%3D")
                .replace('/', "%2f");
            let pixel = read(Some(&format!("a=b&data={escaped}"))).unwrap();
            assert_eq!(pixel.data[0].top, key, "{encoded}");
        }
    }

    #[test]
    fn data_of_two_readings_is_refused() {
        let encoded = STANDARD.encode(EVENT);
        let ambiguous = STANDARD.encode(r#"{"writeKey":"k","writekey":"l"}"#);
        for (query, fault) in [
            (format!("data={encoded}+"), PixelFault::Data),
            ("data=%7B%7D".to_owned(), PixelFault::Data),
            ("data=".to_owned(), PixelFault::Data),
            (format!("Data={encoded}"), PixelFault::Ambiguous),
            (format!("a=1;data={encoded}"), PixelFault::Ambiguous),
            (format!("data={ambiguous}"), PixelFault::Ambiguous),
            ("WRITEKEY=k".to_owned(), PixelFault::Ambiguous),
        ] {
            assert_eq!(read(Some(&query)).err(), Some(fault), "{query}");
        }
    }

    #[test]
    fn forgiving_reading_finds_what_any_decoder_finds() {
        let encoded = STANDARD.encode(EVENT);
        let (head, tail) = encoded.split_at(7);
        for data in [
            encoded.clone(),
            format!("{head} \n{tail}"),
            format!("{head}!{tail}"),
            encoded.trim_end_matches('=').to_owned(),
        ] {
            let found = read_forgivingly(data.as_bytes());
            assert_eq!(found.unwrap().top, Some(WriteKeyDigest::of(b"k")), "{data}");
        }
        assert_eq!(read_forgivingly(b"x"), Ok(BodyKeys::default()));
    }
}
