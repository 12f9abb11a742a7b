//! How our own signing keys are rotated and kept, and where leaked tokens are reported.

use super::types::{LeakedTokens, Signing};
use serde_saphyr::Spanned;
use zeroize::Zeroizing;

use super::check::Check;
use super::file::{LeakedTokensFile, SigningFile};
use super::shown::{has_user, shown};
use crate::domain::key::Algorithm;
use crate::domain::sealing::EncryptionKey;

/// The shortest time that a key may sign, in seconds.
const ROTATE_EVERY_MIN_S: u64 = 3_600;

/// The shortest time that a key is published before it signs, in seconds: a key set may be kept for five minutes.
const PUBLISH_AHEAD_MIN_S: u64 = 360;

impl Check<'_> {
    pub(super) fn signing(&mut self, file: &SigningFile) -> Signing {
        let default = Signing::default();
        let algorithm = match &file.algorithm {
            None => default.algorithm,
            Some(raw) => self
                .text(raw)
                .as_deref()
                .and_then(Algorithm::parse)
                .unwrap_or_else(|| {
                    self.problem(
                        raw.referenced,
                        format!("`{}` is not a signing algorithm", shown(raw)),
                        "use RS256, PS256, ES256 or EdDSA",
                    );
                    default.algorithm
                }),
        };
        let publish_ahead_s = file
            .publish_ahead
            .as_ref()
            .map_or(default.publish_ahead_s, |held| held.value.0.as_secs());
        if let Some(raw) = file
            .publish_ahead
            .as_ref()
            .filter(|_| publish_ahead_s < PUBLISH_AHEAD_MIN_S)
        {
            self.problem(
                raw.referenced,
                "a key would sign before everybody has it: a key set may be kept for five minutes",
                "write 6m or more",
            );
        }
        let rotate_every_s = file
            .rotate_every
            .as_ref()
            .map_or(default.rotate_every_s, |held| held.value.0.as_secs());
        if let Some(raw) = &file.rotate_every
            && rotate_every_s < ROTATE_EVERY_MIN_S.max(publish_ahead_s * 2)
        {
            self.problem(
                raw.referenced,
                "a key would sign for too short a time",
                "write 1h or more, and twice `publish_ahead` at least",
            );
        }
        Signing {
            algorithm,
            rotate_every_s,
            publish_ahead_s,
            key_encryption_key: self.encryption_key("key_encryption_key", file.key_encryption_key.as_ref()),
            previous_key_encryption_key: self.encryption_key(
                "previous_key_encryption_key",
                file.previous_key_encryption_key.as_ref(),
            ),
        }
    }

    fn encryption_key(&mut self, name: &str, raw: Option<&Spanned<String>>) -> Option<EncryptionKey> {
        let raw = raw?;
        let text = Zeroizing::new(self.secret(&format!("control_plane.signing.{name}"), raw)?);
        EncryptionKey::parse(&text)
            .map_err(|error| {
                let hint =
                    "`openssl rand -base64 32` makes one; keep it out of this file with ${NAME} or file:PATH";
                self.problem(raw.referenced, format!("the key {error}"), hint);
            })
            .ok()
    }

    pub(super) fn leaked_tokens(&mut self, file: &LeakedTokensFile) -> LeakedTokens {
        let github_keys = file.github.as_ref().and_then(|github| {
            let raw = &github.keys_url;
            let text = self.text(raw)?;
            let uri = text.parse::<http::Uri>().ok().filter(|uri| uri.host().is_some());
            let is_local = |uri: &http::Uri| {
                uri.host().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"))
            };
            let is_safe = |uri: &http::Uri| {
                uri.scheme_str() == Some("https") || uri.scheme_str() == Some("http") && is_local(uri)
            };
            let uri = uri.filter(|uri| is_safe(uri) && !has_user(uri));
            if uri.is_none() {
                self.problem(
                    raw.referenced,
                    "keys are fetched over https",
                    "write https://api.github.com/meta/public_keys/secret_scanning; only loopback may be plain http",
                );
            }
            uri
        });
        LeakedTokens { github_keys }
    }
}
