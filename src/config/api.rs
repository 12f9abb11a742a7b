//! Checks of an API's paths, methods and origins.

use std::time::Duration;

use serde_saphyr::Spanned;

use super::api_file::ApiPathFile;
use super::api_types::{ApiPath, Cors, Origins, PathPattern};
use super::check::Check;
use super::file;
use super::shown::{shown, shown_text};

/// How long a preflight may be kept where the config does not say.
const MAX_AGE: Duration = Duration::from_secs(600);

/// The longest method that a config may name, in bytes.
const METHOD_BYTES_MAX: usize = 32;

impl Check<'_> {
    /// The paths of an API that are right.
    pub(super) fn api_paths(&mut self, raw: &Spanned<Vec<Spanned<ApiPathFile>>>) -> Vec<ApiPath> {
        if raw.value.is_empty() {
            self.problem(raw.referenced, "no path is named", "name a path, or `/*` for all");
        }
        raw.value.iter().filter_map(|path| self.api_path(path)).collect()
    }

    fn api_path(&mut self, raw: &Spanned<ApiPathFile>) -> Option<ApiPath> {
        let path = raw.value.path.as_str();
        let is_plain = |path: &str| path.starts_with('/') && !path.contains(['*', '?', '#', '%', ' ']);
        let pattern = match path.strip_suffix('*') {
            Some(prefix) if is_plain(prefix) && prefix.ends_with('/') => {
                PathPattern::Prefix(prefix.to_owned())
            }
            None if is_plain(path) => PathPattern::Exact(path.to_owned()),
            _ => {
                self.problem(
                    raw.referenced,
                    format!("`{}` is not a path", shown_text(path)),
                    "write /one/path, or /all/below/*",
                );
                return None;
            }
        };
        let methods = match &raw.value.methods {
            None => Vec::new(),
            Some(methods) => self.methods(methods)?,
        };
        Some(ApiPath { pattern, methods })
    }

    fn methods(&mut self, raw: &Spanned<Vec<Spanned<String>>>) -> Option<Vec<String>> {
        if raw.value.is_empty() {
            self.problem(
                raw.referenced,
                "no method is named",
                "name methods, such as [POST], or leave `methods` out for all",
            );
            return None;
        }
        let is_method = |name: &str| {
            !name.is_empty()
                && name.len() <= METHOD_BYTES_MAX
                && name.bytes().all(|byte| byte.is_ascii_uppercase())
                && !matches!(name, "CONNECT" | "TRACE")
        };
        for method in raw.value.iter().filter(|method| !is_method(&method.value)) {
            self.problem(
                method.referenced,
                format!("`{}` is not a method that the gateway forwards", shown(method)),
                "write it in capital letters, such as GET or POST",
            );
        }
        Some(raw.value.iter().map(|method| method.value.clone()).collect())
    }

    pub(super) fn cors(&mut self, file: &file::CorsFile) -> Option<Cors> {
        let mut listed = Vec::new();
        for origin in &file.origins.value {
            let text = self.text(origin)?;
            if text != "*" && !is_origin(&text) {
                self.problem(
                    origin.referenced,
                    format!("`{}` is not an origin as browsers send it", shown(origin)),
                    "write scheme and host in small letters, and the port unless it is the scheme's own: https://www.example.com",
                );
            }
            listed.push(text);
        }
        let is_any = listed.iter().any(|origin| origin == "*");
        if listed.is_empty() || (is_any && listed.len() > 1) {
            self.problem(
                file.origins.referenced,
                "`\"*\"` stands alone, and some origin must be named",
                "write [\"*\"], or the origins, or leave `cors` out",
            );
        }
        let credentials = file.credentials.as_ref().is_some_and(|given| given.value);
        if let Some(given) = &file.credentials
            && is_any
            && credentials
        {
            self.problem(
                given.referenced,
                "browsers refuse credentials where every origin is allowed",
                "list the origins, or write `credentials: false`",
            );
        }
        Some(Cors {
            origins: match is_any {
                true => Origins::Any,
                false => Origins::Listed(listed),
            },
            credentials,
            max_age: file.max_age.as_ref().map_or(MAX_AGE, |age| age.value.0),
        })
    }
}

/// Whether this is the serialisation of an origin (RFC 6454 section 6.2): scheme, host, and the port unless it is the
/// scheme's own. `null` is every sandboxed document's, so it is none here.
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else {
        return false;
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return false;
    };
    let own_port = match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    };
    text == format!("{scheme}://{authority}")
        && !text.bytes().any(|byte| byte.is_ascii_uppercase())
        && !authority.as_str().contains('@')
        && !authority.host().is_empty()
        && (authority.port_u16().is_none() || authority.port_u16() != own_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        for good in [
            "https://www.example.com",
            "http://localhost:3000",
            "https://[::1]:8443",
            "chrome-extension://abcdef",
        ] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "",
            "null",
            "www.example.com",
            "https://www.example.com/",
            "https://www.example.com:443",
            "http://a.test:80",
            "https://WWW.example.com",
            "https://user@a.test",
            "https://a.test/path",
            "https://",
            "https://*.example.com",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
