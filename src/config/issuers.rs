//! The config's `issuers:` section: issuers besides the bundled one, and where their keys come from.

use std::time::Duration;

use serde_saphyr::Spanned;

use super::check::Check;
use super::file;
use super::shown::{has_user, shown};
use super::types::{JwksUri, KeyOrigin, OutsideIssuer};
use crate::domain::key::Algorithm;
use crate::domain::policy::AcceptedTypes;

impl Check<'_> {
    pub(super) fn issuers(&mut self, files: &[file::IssuerFile]) -> Vec<OutsideIssuer> {
        for (at, issuer) in files.iter().enumerate() {
            let mut earlier = files.iter().take(at);
            if earlier.any(|earlier| earlier.issuer.value == issuer.issuer.value) {
                self.problem(
                    issuer.issuer.referenced,
                    "this issuer is configured twice",
                    "keep one of the two",
                );
            }
        }
        files.iter().filter_map(|issuer| self.issuer(issuer)).collect()
    }

    fn issuer(&mut self, file: &file::IssuerFile) -> Option<OutsideIssuer> {
        let algorithms = match &file.algorithms {
            None => vec![Algorithm::Rs256],
            Some(list) => {
                let mut algorithms = Vec::new();
                for name in &list.value {
                    match Algorithm::parse(&name.value) {
                        Some(algorithm) => algorithms.push(algorithm),
                        None => self.problem(
                            name.referenced,
                            format!("`{}` is not a signature algorithm that is accepted", shown(name)),
                            "use RS256, PS256, ES256 or EdDSA",
                        ),
                    }
                }
                algorithms
            }
        };
        if file.audience.value.is_empty() {
            self.problem(
                file.audience.referenced,
                "no audience is named",
                "name what `aud` must be in its tokens",
            );
        }
        let keys = self.key_origin(file)?;
        Some(OutsideIssuer {
            issuer: self.text(&file.issuer)?,
            keys,
            algorithms,
            audiences: file.audience.value.clone(),
            types: match &file.typ {
                None => AcceptedTypes::Listed(vec!["at+jwt".to_owned()]),
                Some(types) if types.iter().any(|typ| typ == "*") => AcceptedTypes::Any,
                Some(types) => AcceptedTypes::Listed(types.clone()),
            },
            leeway_s: file.leeway.map_or(5, |leeway| leeway.0.as_secs()),
            lifetime_max_s: file.lifetime_max.map(|max| max.0.as_secs()),
        })
    }

    fn key_origin(&mut self, file: &file::IssuerFile) -> Option<KeyOrigin> {
        let (raw, path) = match (&file.jwks_uri, &file.jwks_file) {
            (Some(uri), None) => (uri, None),
            (None, Some(path)) => (path, self.file_path(path)),
            _ => {
                self.problem(
                    file.issuer.referenced,
                    "the issuer needs its keys from one place",
                    "write `jwks_uri: https://...` or `jwks_file: keys.json`",
                );
                return None;
            }
        };
        if let Some(path) = path {
            return Some(KeyOrigin::File(path));
        }
        let text = self.text(raw)?;
        let uri = text.parse::<http::Uri>().ok().filter(|uri| uri.host().is_some());
        let Some(uri) = uri else {
            self.problem(
                raw.referenced,
                "is not an absolute URL",
                "write https://host/path",
            );
            return None;
        };
        if has_user(&uri) {
            self.problem(
                raw.referenced,
                "has a user or a password in it, which would not be sent",
                "write https://host/path",
            );
            return None;
        }
        let local = uri
            .host()
            .is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
        if !(uri.scheme_str() == Some("https") || uri.scheme_str() == Some("http") && local) {
            self.problem(
                raw.referenced,
                "keys are fetched over https",
                "only loopback may be plain http",
            );
            return None;
        }
        let or = |value: &Option<Spanned<file::Duration>>, default| {
            value.as_ref().map_or(default, |held| held.value.0)
        };
        Some(KeyOrigin::Uri(JwksUri {
            uri,
            refresh: or(&file.refresh, Duration::from_secs(300)).max(Duration::from_secs(1)),
            fetch_timeout: or(&file.fetch_timeout, Duration::from_secs(5)),
            cooldown: or(&file.cooldown, Duration::from_secs(30)),
            wait: or(&file.wait, Duration::from_secs(2)),
        }))
    }
}
