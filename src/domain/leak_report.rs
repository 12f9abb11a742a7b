//! Reports of leaked tokens: whether the key that a reporter publishes made a report's signature.
//!
//! GitHub signs the raw body with ECDSA on P-256 and SHA-256, and sends the signature as DER in base64.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key::PublicKey;

/// The longest signature read, in characters. A DER signature on P-256 has 72 bytes at most.
const SIGNATURE_CHARS_MAX: usize = 128;

/// A key that reports are signed with.
pub struct ReportKey(ParsedPublicKey);

impl ReportKey {
    /// Reads a P-256 key as it is published: PEM, or the same without its frame.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let public = if text.contains("-----BEGIN ") {
            PublicKey::from_pem(text).ok()?
        } else {
            let bare: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            PublicKey::from_spki(&STANDARD.decode(bare).ok()?).ok()?
        };
        let PublicKey::P256 { x, y } = public else {
            return None;
        };
        let point = [&[0x04], &x[..], &y[..]].concat();
        Some(Self(ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).ok()?))
    }

    /// Whether this key signed exactly these bytes.
    #[must_use]
    pub fn signed(&self, body: &[u8], signature: &str) -> bool {
        if signature.len() > SIGNATURE_CHARS_MAX {
            return false;
        }
        STANDARD
            .decode(signature)
            .is_ok_and(|signature| self.0.verify_sig(body, &signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published example.
    const BODY: &str = r#"[{"source":"commit","token":"some_token","type":"some_type","url":"https://example.com/base-repo-url/"}]"#;
    const SIGNATURE: &str =
        "MEQCIQDaMKqrGnE27S0kgMrEK0eYBmyG0LeZismAEz/BgZyt7AIfXt9fErtRS4XaeSt/AO1RtBY66YcAdjxji410VQV4xg==";
    const KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYAGMWO8XgCamYKMJS6jc/qgvSlAdAjPuDPRcXU22YxgBrz+zoN19MzuRyW87qEt9/AmtoNP5GrobzUvQSyJFVw==";

    #[test]
    fn published_example_verifies_in_each_form_of_its_key() {
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{KEY}\n-----END PUBLIC KEY-----\n");
        for key in [KEY, &pem] {
            assert!(ReportKey::parse(key).unwrap().signed(BODY.as_bytes(), SIGNATURE));
        }
    }

    #[test]
    fn anything_changed_does_not_verify() {
        let key = ReportKey::parse(KEY).unwrap();
        for body in [
            format!("{BODY} "),
            BODY.replace("some_token", "Some_token"),
            String::new(),
        ] {
            assert!(!key.signed(body.as_bytes(), SIGNATURE), "{body}");
        }
        let long = format!("{SIGNATURE}{}", "A".repeat(200));
        for signature in ["", "AAAA", "not base64", SIGNATURE.trim_end_matches('='), &long] {
            assert!(!key.signed(BODY.as_bytes(), signature), "{signature}");
        }
        for key in ["", "AAAA", "-----BEGIN PUBLIC KEY-----", "rubbish"] {
            assert!(ReportKey::parse(key).is_none(), "{key}");
        }
    }
}
