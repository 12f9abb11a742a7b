//! Cookies, and whether a request comes from a page of ours.

use http::{HeaderMap, HeaderValue, Method, header};

use crate::domain::cost;

/// Names of the cookies, which say how far they can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookie {
    /// The session.
    Session,
    /// What a browser is known by at the next sign-in.
    Browser,
    /// A sign-on under way at a provider.
    SignOn,
    /// What the next page of the console says was done.
    Notice,
}

/// How cookies are written for a public URL.
///
/// Over https they are `Secure` and named `__Host-`, so that neither another host of the domain nor a plain
/// connection can set or read them. Browsers take no such cookie from a server on plain http, which only a
/// quickstart on one's own machine is: there, and only there, they have other names.
#[derive(Clone, Copy, Debug)]
pub struct Cookies {
    secure: bool,
}

impl Cookies {
    #[must_use]
    pub fn of(public_url: &str) -> Self {
        Self {
            secure: public_url.starts_with("https://"),
        }
    }

    /// The cookie's name.
    #[must_use]
    pub const fn name(self, cookie: Cookie) -> &'static str {
        match (cookie, self.secure) {
            (Cookie::Session, true) => "__Host-portcullis",
            (Cookie::Session, false) => "portcullis-on-http",
            (Cookie::Browser, true) => "__Host-portcullis-browser",
            (Cookie::Browser, false) => "portcullis-browser-on-http",
            (Cookie::SignOn, true) => "__Host-portcullis-sign-on",
            (Cookie::SignOn, false) => "portcullis-sign-on-on-http",
            (Cookie::Notice, true) => "__Host-portcullis-notice",
            (Cookie::Notice, false) => "portcullis-notice-on-http",
        }
    }

    /// The value of this cookie. A cookie that occurs twice counts as absent, since one of the two was planted.
    #[must_use]
    pub fn get(self, cookie: Cookie, headers: &HeaderMap) -> Option<&str> {
        let name = self.name(cookie);
        let pairs = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .inspect(|value| cost::count(2 * value.len()))
            .flat_map(|value| value.split(';'));
        let mut values = pairs
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(held, _)| *held == name)
            .map(|(_, value)| value);
        match (values.next(), values.next()) {
            (Some(value), None) => Some(value),
            _ => None,
        }
    }

    /// A `Set-Cookie` that gives the browser `value` for so many seconds. Nothing that needs escaping is set.
    #[must_use]
    pub fn set(self, cookie: Cookie, value: &str, seconds: u64) -> Option<HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        let name = self.name(cookie);
        let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// A `Set-Cookie` that takes it away.
    #[must_use]
    pub fn clear(self, cookie: Cookie) -> Option<HeaderValue> {
        self.set(cookie, "", 0)
    }
}

/// Whether a method changes nothing (RFC 9110 section 9.2.1).
#[must_use]
pub fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a browser says that a request comes from a page of this origin; `None` where it does not say.
///
/// `Sec-Fetch-Site` is the browser's own word. Older browsers send `Origin` alone, which must be our public one,
/// or, for a server reached by another of its names, that of the `Host` that the same browser connected to.
#[must_use]
pub fn is_same_origin(headers: &HeaderMap, public_url: &str) -> Option<bool> {
    let only = |name: &str| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => None,
            (Some(value), None) => Some(value.to_str().unwrap_or_default()),
            (Some(_), Some(_)) => Some(""),
        }
    };
    if let Some(site) = only("sec-fetch-site") {
        return Some(site == "same-origin");
    }
    let origin = only("origin")?;
    let (scheme, rest) = public_url.split_once("://").unwrap_or_default();
    let ours = rest.split('/').next().unwrap_or_default();
    let theirs = origin
        .strip_prefix(scheme)
        .and_then(|rest| rest.strip_prefix("://"));
    let host = only("host").unwrap_or_default();
    Some(theirs.is_some_and(|theirs| !theirs.is_empty() && (theirs == ours || theirs == host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_cookie_is_found_once_or_not_at_all() {
        let cookies = Cookies::of("https://auth.example.com");
        for (sent, found) in [
            (&["__Host-portcullis=a"][..], Some("a")),
            (&["x=1; __Host-portcullis=a; y=2"], Some("a")),
            (&["x=1", "__Host-portcullis=a"], Some("a")),
            (&["__Host-portcullis=a; __Host-portcullis=b"], None),
            (&["__Host-portcullis=a", "__Host-portcullis=b"], None),
            (&["portcullis-on-http=a"], None),
            (&["__host-portcullis=a"], None),
            (&[], None),
        ] {
            let pairs: Vec<_> = sent.iter().map(|value| ("cookie", *value)).collect();
            assert_eq!(cookies.get(Cookie::Session, &headers(&pairs)), found, "{sent:?}");
        }
    }

    #[test]
    fn cookies_are_bound_to_their_host_wherever_browsers_allow_it() {
        let set = |url: &str| {
            let value = Cookies::of(url).set(Cookie::Session, "s", 60).unwrap();
            value.to_str().unwrap().to_owned()
        };
        assert_eq!(
            set("https://auth.example.com"),
            "__Host-portcullis=s; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            set("http://127.0.0.1:8081"),
            "portcullis-on-http=s; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn origin_is_judged_by_what_the_browser_says() {
        let public = "https://auth.example.com/base";
        for (sent, expected) in [
            (&[][..], None),
            (&[("sec-fetch-site", "same-origin")], Some(true)),
            (&[("sec-fetch-site", "same-site")], Some(false)),
            (&[("sec-fetch-site", "cross-site")], Some(false)),
            (&[("sec-fetch-site", "none")], Some(false)),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "https://auth.example.com"),
                ],
                Some(false),
            ),
            (
                &[
                    ("sec-fetch-site", "same-origin"),
                    ("sec-fetch-site", "same-origin"),
                ],
                Some(false),
            ),
            (&[("origin", "https://auth.example.com")], Some(true)),
            (&[("origin", "http://auth.example.com")], Some(false)),
            (&[("origin", "https://auth.example.com.evil.test")], Some(false)),
            (&[("origin", "https://auth.example.com:444")], Some(false)),
            (&[("origin", "null")], Some(false)),
            (&[("origin", "https://")], Some(false)),
            (
                &[("origin", "https://inner:8081"), ("host", "inner:8081")],
                Some(true),
            ),
            (
                &[("origin", "https://evil.test"), ("host", "auth.example.com")],
                Some(false),
            ),
        ] {
            assert_eq!(is_same_origin(&headers(sent), public), expected, "{sent:?}");
        }
    }
}
