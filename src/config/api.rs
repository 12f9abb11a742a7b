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
        self.if_empty(raw, "no path is named", "name a path, or `/*` for all");
        raw.value.iter().filter_map(|path| self.api_path(path)).collect()
    }

    fn api_path(&mut self, raw: &Spanned<ApiPathFile>) -> Option<ApiPath> {
        let text = self.replaced(&raw.value.path, raw.referenced)?;
        let path = text.as_str();
        let is_plain = |path: &str| path.starts_with('/') && !path.contains(['*', '?', '#', '%', ' ']);
        let pattern = match path.strip_suffix('*') {
            Some(prefix) if is_plain(prefix) && prefix.ends_with('/') => {
                PathPattern::Prefix(prefix.to_owned())
            }
            None if is_plain(path) => PathPattern::Exact(path.to_owned()),
            _ => {
                self.problem(
                    raw.referenced,
                    format!("`{}` is not a path", shown_text(&raw.value.path)),
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
        && !text.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'*')
        && !authority.as_str().contains('@')
        && !authority.host().is_empty()
        && (authority.port_u16().is_none() || authority.port_u16() != own_port)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load::load_text;
    use crate::config::types::{Api, Identify};

    /// The one API of a config with these keys, or the problems.
    fn loaded(keys: &str) -> Result<Api, Vec<String>> {
        let text = format!(
            r#"version: 1
gateway:
  listeners: [{{address: "127.0.0.1:8080"}}]
  apis:
    tracking: {{hosts: ["*"], scope: s, identify: [basic, pixel], upstream: a, {keys}}}
  upstreams: {{a: {{servers: ["10.0.0.1:80"]}}}}
policy: {{source: file, file: policy.yaml}}
issuers:
  - {{issuer: "https://login.test", jwks_uri: "https://login.test/jwks", audience: [gateway]}}
"#
        );
        let config = load_text(Path::new("test.yaml"), &text)
            .map_err(|error| error.problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let mut apis = config.gateway.unwrap().apis;
        Ok(apis.remove(0))
    }

    #[test]
    fn paths_are_texts_or_name_their_methods() {
        let api = loaded(r#"paths: ["/v1/*", {path: "/", methods: [POST, PUT]}]"#).unwrap();
        assert_eq!(api.paths[0], PathPattern::Prefix("/v1/".to_owned()).into());
        assert_eq!(api.paths[1].pattern, PathPattern::Exact("/".to_owned()));
        assert_eq!(api.paths[1].methods, ["POST", "PUT"]);
        assert_eq!(
            (api.identify, api.cors),
            (vec![Identify::Basic, Identify::Pixel], None)
        );
    }

    #[test]
    fn cors_has_defaults() {
        let api = loaded(r#"paths: ["/*"], cors: {origins: ["*"]}"#).unwrap();
        let expected = Cors {
            origins: Origins::Any,
            credentials: false,
            max_age: MAX_AGE,
        };
        assert_eq!(api.cors, Some(expected));
        let listed = r#"paths: ["/*"], cors: {origins: ["https://a.test"], credentials: true, max_age: 1h}"#;
        let cors = loaded(listed).unwrap().cors.unwrap();
        assert_eq!(cors.origins, Origins::Listed(vec!["https://a.test".to_owned()]));
        assert!(cors.credentials && cors.max_age.as_secs() == 3600);
    }

    #[test]
    fn mistakes_have_their_place() {
        for (keys, place, word) in [
            (r#"paths: []"#, "5:86", "no path is named"),
            (r#"paths: ["v1"]"#, "5:87", "`v1` is not a path"),
            (
                r#"paths: [{path: "/", methods: []}]"#,
                "5:108",
                "no method is named",
            ),
            (
                r#"paths: [{path: "/", methods: [post]}]"#,
                "5:109",
                "`post` is not a method",
            ),
            (
                r#"paths: [{path: "/", methods: [TRACE]}]"#,
                "5:109",
                "`TRACE` is not a method",
            ),
            (r#"paths: [{path: "/", method: [GET]}]"#, "5:", "method"),
            (r#"paths: [1]"#, "5:", "a path such as"),
            (
                r#"paths: ["/*"], cors: {origins: ["a.test"]}"#,
                "5:111",
                "`a.test` is not an origin",
            ),
            (
                r#"paths: ["/*"], cors: {origins: []}"#,
                "5:110",
                "some origin must be named",
            ),
            (
                r#"paths: ["/*"], cors: {origins: ["*", "https://a.test"]}"#,
                "5:110",
                "stands alone",
            ),
            (
                r#"paths: ["/*"], cors: {origins: ["*"], credentials: true}"#,
                "5:130",
                "browsers refuse credentials",
            ),
        ] {
            let problems = loaded(keys).unwrap_err();
            let [only] = problems.as_slice() else {
                panic!("{keys}: {problems:?}");
            };
            assert!(only.contains(&format!("test.yaml:{place}")), "{keys}: {only}");
            assert!(only.contains(word), "{keys}: {only}");
        }
    }

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
