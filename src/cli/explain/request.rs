//! A request as a client would send it, made of what the command line gives.

use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::cli::failure::Failure;

/// The longest request, body or token read, in bytes.
const INPUT_BYTES_MAX: u64 = 64 << 20;

/// A request. It has no `Debug`, since it holds credentials.
pub(super) struct RequestText {
    pub(super) method: String,
    pub(super) target: String,
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub(super) version: &'static str,
    /// Each as `Name: value`, in order.
    pub(super) headers: Vec<Zeroizing<Vec<u8>>>,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl RequestText {
    /// A request to a URL, without headers but `Host`, and `Authorization` where the URL names a user.
    pub(super) fn new(method: &str, url: &str) -> Result<Self, Failure> {
        let Url {
            authority,
            target,
            user,
        } = Url::parse(url)?;
        let mut request = Self {
            method: method.to_owned(),
            target,
            version: "HTTP/1.1",
            headers: Vec::new(),
            body: Zeroizing::default(),
        };
        request.add_header(&format!("Host: {authority}"))?;
        if let Some(user) = user {
            request.set_user(user)?;
        }
        Ok(request)
    }

    /// Adds a header as `Name: value`. `Host` replaces the one of the URL.
    pub(super) fn add_header(&mut self, header: &str) -> Result<(), Failure> {
        let Some((name, _)) = header.split_once(':') else {
            return Err(Failure::input("a header is written as `NAME: VALUE`"));
        };
        if header.contains(['\r', '\n']) {
            return Err(Failure::input("a header has a line break in it"));
        }
        if name.eq_ignore_ascii_case("host") {
            self.remove("host");
        }
        self.headers.push(Zeroizing::new(header.as_bytes().to_vec()));
        Ok(())
    }

    /// Whether a header is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|held| is_named(held, name))
    }

    fn remove(&mut self, name: &str) {
        self.headers.retain(|held| !is_named(held, name));
    }

    /// Authenticates by HTTP Basic. `user` is `user:password` or a user alone.
    pub(super) fn set_user(&mut self, user: &str) -> Result<(), Failure> {
        let pair = match user.contains(':') {
            true => Zeroizing::new(user.to_owned()),
            false => Zeroizing::new(format!("{user}:")),
        };
        let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
        let header = Zeroizing::new(format!("Authorization: Basic {}", *encoded));
        self.add_header(&header)
    }

    /// Sends this access token in place of the request's own.
    pub(super) fn set_token(&mut self, token: &str) -> Result<(), Failure> {
        if token.is_empty() || token.contains(|letter: char| letter.is_whitespace() || !letter.is_ascii()) {
            return Err(Failure::input(
                "--token is not one word; give the token without `Bearer`",
            ));
        }
        let is_basic = |held: &&Zeroizing<Vec<u8>>| {
            let value = held
                .get("authorization:".len()..)
                .unwrap_or_default()
                .trim_ascii_start();
            is_named(held, "authorization")
                && value
                    .get(..6)
                    .is_some_and(|word| word.eq_ignore_ascii_case(b"basic "))
        };
        if self.headers.iter().any(|held| is_basic(&held)) {
            return Err(Failure::input(
                "the request has Basic credentials, and a client sends one credential; remove them, and send the write key as `writeKey` of the body",
            ));
        }
        self.remove("authorization");
        let header = Zeroizing::new(format!("Authorization: Bearer {token}"));
        self.add_header(&header)
    }

    /// The bytes that a client sends. The length of the body is added where no header says it.
    pub(super) fn bytes(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let is_word = |text: &str| !text.is_empty() && !text.bytes().any(|byte| byte.is_ascii_whitespace());
        if !is_word(&self.method) || !is_word(&self.target) {
            return Err(Failure::input(
                "the method or the URL is empty, or has a space in it",
            ));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.body.len() + 4096));
        bytes.extend_from_slice(format!("{} {} {}\r\n", self.method, self.target, self.version).as_bytes());
        for header in &self.headers {
            bytes.extend_from_slice(header);
            bytes.extend_from_slice(b"\r\n");
        }
        if !self.body.is_empty() && !self.has("content-length") && !self.has("transfer-encoding") {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        Ok(bytes)
    }
}

fn is_named(header: &[u8], name: &str) -> bool {
    let (start, rest) = header.split_at_checked(name.len()).unwrap_or_default();
    start.eq_ignore_ascii_case(name.as_bytes()) && rest.first() == Some(&b':')
}

/// A URL taken apart as clients do it; its path stays as it is written.
pub(super) struct Url<'u> {
    pub(super) authority: &'u str,
    /// Path and query.
    pub(super) target: String,
    pub(super) user: Option<&'u str>,
}

impl<'u> Url<'u> {
    /// Takes `http://`, `https://` or no scheme.
    pub(super) fn parse(url: &'u str) -> Result<Self, Failure> {
        let rest = match url.split_once("://") {
            Some((scheme, rest))
                if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") =>
            {
                rest
            }
            Some(_) => return Err(Failure::input("the URL is neither http:// nor https://")),
            None => url,
        };
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, authority),
        };
        if authority.is_empty() {
            return Err(Failure::input(
                "the URL names no host; write it as https://HOST/PATH",
            ));
        }
        Ok(Self {
            authority,
            target: match target.starts_with('/') {
                true => target.to_owned(),
                false => format!("/{target}"),
            },
            user,
        })
    }
}

/// A body: a text, or the content of a file after `@`.
pub(super) fn data(text: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match text.strip_prefix('@') {
        Some(file) => contents(Path::new(file)),
        None => Ok(Zeroizing::new(text.as_bytes().to_vec())),
    }
}

/// The content of a file, or the standard input for `-`.
pub(super) fn contents(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = match path == Path::new("-") {
        true => std::io::stdin()
            .lock()
            .take(INPUT_BYTES_MAX)
            .read_to_end(&mut bytes),
        false => {
            std::fs::File::open(path).and_then(|file| file.take(INPUT_BYTES_MAX).read_to_end(&mut bytes))
        }
    };
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Failure::input(format_args!(
            "{} cannot be read: {error}",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(request: &RequestText) -> String {
        String::from_utf8(request.bytes().unwrap_or_default().to_vec()).unwrap_or_default()
    }

    #[test]
    fn url_becomes_host_and_target() {
        for (url, host, target) in [
            ("https://a.test/v1/batch?b=1#c", "a.test", "/v1/batch?b=1"),
            ("http://a.test:8080", "a.test:8080", "/"),
            ("a.test?b=1", "a.test", "/?b=1"),
        ] {
            let request = RequestText::new("GET", url).unwrap_or_else(|_| unreachable!());
            assert_eq!(
                text(&request),
                format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
            );
        }
        assert!(RequestText::new("GET", "ftp://a.test/").is_err());
        assert!(RequestText::new("GET", "https:///v1").is_err());
    }

    #[test]
    fn token_replaces_bearer_and_not_basic() {
        let mut request = RequestText::new("GET", "http://a.test/").unwrap_or_else(|_| unreachable!());
        assert!(request.add_header("authorization: Bearer OLD").is_ok());
        assert!(request.set_token("NEW").is_ok());
        assert!(text(&request).contains("Bearer NEW") && !text(&request).contains("OLD"));
        let mut request = RequestText::new("GET", "http://key@a.test/").unwrap_or_else(|_| unreachable!());
        assert!(text(&request).contains("Authorization: Basic a2V5Og==\r\n"));
        assert!(request.set_token("NEW").is_err());
    }
}
