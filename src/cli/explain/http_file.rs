//! A request in a file, as HTTP has it or as editors write it (`.http`): line feeds will do, the URL may be whole, and
//! lines of comment may stand before it.

use zeroize::Zeroizing;

use super::request::{RequestText, Url};
use crate::cli::failure::Failure;

/// Reads the first request of a file.
pub(super) fn parse(bytes: &[u8]) -> Result<RequestText, Failure> {
    let mut rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let first = loop {
        let Some((line, after)) = next_line(rest) else {
            return Err(Failure::input(
                "the file has no request; begin it with `POST https://HOST/PATH`",
            ));
        };
        rest = after;
        let is_comment = line.starts_with(b"#") || line.starts_with(b"//");
        if !line.trim_ascii().is_empty() && !is_comment {
            break line;
        }
    };
    let mut request = request_line(first)?;
    let named_by_url = std::mem::take(&mut request.headers);
    while let Some((line, after)) = next_line(rest) {
        rest = after;
        if line.is_empty() {
            break;
        }
        request.headers.push(Zeroizing::new(line.to_vec()));
    }
    if !request.has("host") {
        request.headers.splice(0..0, named_by_url);
    }
    request.body = Zeroizing::new(body(rest).to_vec());
    Ok(request)
}

/// A line without its end, and what follows.
fn next_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.is_empty() {
        return None;
    }
    let end = memchr::memchr(b'\n', text);
    let (line, rest) = match end {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?),
        None => (text, [].as_slice()),
    };
    Some((line.strip_suffix(b"\r").unwrap_or(line), rest))
}

/// `METHOD TARGET [HTTP/x]`, or a URL alone.
fn request_line(line: &[u8]) -> Result<RequestText, Failure> {
    let malformed = || {
        Failure::input(
            "the first line is no request; write `POST https://HOST/PATH`, or `POST /PATH HTTP/1.1`",
        )
    };
    let line = std::str::from_utf8(line).map_err(|_| malformed())?.trim();
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    let (method, target, version) = match words.as_slice() {
        [url] => ("GET", *url, ""),
        [method, target] => (*method, *target, ""),
        [method, target, version] if version.starts_with("HTTP/") => (*method, *target, *version),
        _ => return Err(malformed()),
    };
    let mut request = match target.starts_with('/') || target == "*" {
        true => RequestText {
            method: method.to_owned(),
            target: target.to_owned(),
            version: "HTTP/1.1",
            headers: Vec::new(),
            body: Zeroizing::default(),
        },
        false => {
            let Url { user, .. } = Url::parse(target)?;
            match user {
                Some(_) => return Err(Failure::input("the URL has a user; write it as a header")),
                None => RequestText::new(method, target)?,
            }
        }
    };
    if version == "HTTP/1.0" {
        request.version = "HTTP/1.0";
    }
    Ok(request)
}

/// The body, up to the line that begins the next request of the file.
fn body(rest: &[u8]) -> &[u8] {
    if rest.starts_with(b"###") {
        return &[];
    }
    let end = memchr::memmem::find(rest, b"\n###").unwrap_or(rest.len());
    rest.get(..end).unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str) -> String {
        let bytes = parse(file.as_bytes()).and_then(|request| request.bytes());
        String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap_or_default()
    }

    #[test]
    fn raw_http_is_taken_as_it_is() {
        let raw = "POST /v1/track HTTP/1.0\r\nHost: a.test\r\nX: 1\r\nX: 2\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(read(raw), raw);
    }

    #[test]
    fn http_file_of_an_editor_is_completed() {
        let file = "# first\n\n### name\nPOST https://a.test/v1/track?b=1 HTTP/2\nX: 1\n\n{}\n### next\nGET http://b.test/\n";
        assert_eq!(
            read(file),
            "POST /v1/track?b=1 HTTP/1.1\r\nHost: a.test\r\nX: 1\r\nContent-Length: 2\r\n\r\n{}"
        );
        assert_eq!(read("http://a.test"), "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(
            read("GET http://a.test/\nHost: b.test\n"),
            "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n"
        );
    }

    #[test]
    fn file_without_a_request_is_refused() {
        for file in [
            "",
            "\n\n",
            "# only\n",
            "hello big world of text\n",
            "GET https:///x\n",
        ] {
            assert!(parse(file.as_bytes()).is_err(), "{file:?}");
        }
    }
}
