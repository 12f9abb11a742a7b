//! A curl command line as a request: the options that say what is sent. Options that say how it is sent or shown are
//! accepted and ignored; an option that is neither is refused by its name.

use zeroize::Zeroizing;

use super::request::{RequestText, contents, data};
use crate::cli::failure::Failure;

/// Options without a value that change nothing about the request.
const IGNORED: [&str; 26] = [
    "--compressed",
    "--fail",
    "--fail-with-body",
    "--http1.1",
    "--http2",
    "--http2-prior-knowledge",
    "--include",
    "--insecure",
    "--location",
    "--no-buffer",
    "--no-progress-meter",
    "--progress-bar",
    "--show-error",
    "--silent",
    "--tlsv1.2",
    "--tlsv1.3",
    "--verbose",
    "-#",
    "-L",
    "-N",
    "-S",
    "-f",
    "-i",
    "-k",
    "-s",
    "-v",
];

/// Options with a value that change nothing about the request.
const IGNORED_WITH_VALUE: [&str; 18] = [
    "--cacert",
    "--cert",
    "--connect-timeout",
    "--connect-to",
    "--key",
    "--max-time",
    "--output",
    "--proxy",
    "--resolve",
    "--retry",
    "--retry-delay",
    "--write-out",
    "--noproxy",
    "-E",
    "-m",
    "-o",
    "-w",
    "-x",
];

/// What the options add up to.
#[derive(Default)]
struct Options {
    method: Option<String>,
    url: Option<String>,
    headers: Vec<Zeroizing<String>>,
    user: Option<Zeroizing<String>>,
    body: Option<Zeroizing<Vec<u8>>>,
    is_get: bool,
    is_json: bool,
}

/// Reads a command line, quoted as in a POSIX shell.
pub(super) fn parse(line: &str) -> Result<RequestText, Failure> {
    if line.contains("$'") {
        return Err(Failure::input(
            "the curl command has a $'...' text, which only some shells read; quote it with '...', or use --request",
        ));
    }
    let words =
        shlex::split(line).ok_or_else(|| Failure::input("the curl command has a quote without its end"))?;
    let mut words = words.into_iter().filter(|word| word.trim() != "");
    let mut options = Options::default();
    if words.next().as_deref() != Some("curl") {
        return Err(Failure::input("the command does not begin with `curl`"));
    }
    while let Some(word) = words.next() {
        options.take(word, &mut words)?;
    }
    options.request()
}

impl Options {
    fn take(&mut self, word: String, words: &mut impl Iterator<Item = String>) -> Result<(), Failure> {
        if word.starts_with("--") {
            return self.long(&word, words);
        }
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            return self.set_url(word);
        };
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            let option = format!("-{letter}");
            if self.flag(&option) {
                continue;
            }
            // The value stands behind the letter or in the next word.
            let joined = rest.as_str().to_owned();
            let value = match joined.is_empty() {
                true => words.next(),
                false => Some(joined),
            };
            return self.valued(&option, value);
        }
        Ok(())
    }

    fn long(&mut self, word: &str, words: &mut impl Iterator<Item = String>) -> Result<(), Failure> {
        match self.flag(word) {
            true => Ok(()),
            false => self.valued(word, words.next()),
        }
    }

    /// Takes an option without a value, if it is one.
    fn flag(&mut self, option: &str) -> bool {
        match option {
            "-G" | "--get" => self.is_get = true,
            "-I" | "--head" => self.method = Some("HEAD".to_owned()),
            _ => return IGNORED.contains(&option),
        }
        true
    }

    fn valued(&mut self, option: &str, value: Option<String>) -> Result<(), Failure> {
        let is_known = matches!(
            option,
            "-X" | "--request"
                | "-H"
                | "--header"
                | "-u"
                | "--user"
                | "--url"
                | "-A"
                | "--user-agent"
                | "-e"
                | "--referer"
                | "-b"
                | "--cookie"
                | "--oauth2-bearer"
                | "-d"
                | "--data"
                | "--data-ascii"
                | "--data-raw"
                | "--data-binary"
                | "--data-urlencode"
                | "--json"
        );
        if !is_known && !IGNORED_WITH_VALUE.contains(&option) {
            return Err(Failure::input(format_args!(
                "the curl option `{option}` is not supported; leave it out, or write the request into a file for --request"
            )));
        }
        let Some(value) = value else {
            return Err(Failure::input(format_args!(
                "the curl option `{option}` has no value"
            )));
        };
        let header = |name: &str| Zeroizing::new(format!("{name}: {value}"));
        match option {
            "-X" | "--request" => self.method = Some(value),
            "-H" | "--header" => self.headers.extend(header_of(value)?),
            "-u" | "--user" => self.user = Some(Zeroizing::new(value)),
            "--url" => self.set_url(value)?,
            "-A" | "--user-agent" => self.headers.push(header("User-Agent")),
            "-e" | "--referer" => self.headers.push(header("Referer")),
            "-b" | "--cookie" => self.headers.push(header("Cookie")),
            "--oauth2-bearer" => self
                .headers
                .push(Zeroizing::new(format!("Authorization: Bearer {value}"))),
            "-d" | "--data" | "--data-ascii" => self.add_data(&without_line_ends(&value)?),
            "--data-raw" => self.add_data(value.as_bytes()),
            "--data-binary" => self.add_data(&data(&value)?),
            "--data-urlencode" => self.add_data(&encoded(&value)?),
            "--json" => {
                self.is_json = true;
                let more = data(&value)?;
                self.body.get_or_insert_default().extend_from_slice(&more);
            }
            _ => {}
        }
        Ok(())
    }

    fn set_url(&mut self, url: String) -> Result<(), Failure> {
        match self.url.replace(url) {
            None => Ok(()),
            Some(_) => Err(Failure::input("the curl command has more than one URL")),
        }
    }

    /// curl joins several by `&`.
    fn add_data(&mut self, more: &[u8]) {
        let body = self.body.get_or_insert_default();
        if !body.is_empty() {
            body.push(b'&');
        }
        body.extend_from_slice(more);
    }

    fn request(self) -> Result<RequestText, Failure> {
        let url = self
            .url
            .ok_or_else(|| Failure::input("the curl command has no URL"))?;
        let (url, body) = match self.body {
            Some(query) if self.is_get => {
                let query = String::from_utf8_lossy(&query);
                let mark = if url.contains('?') { '&' } else { '?' };
                (format!("{url}{mark}{query}"), None)
            }
            body => (url, body),
        };
        let method = self.method.unwrap_or_else(|| match body.is_some() {
            true => "POST".to_owned(),
            false => "GET".to_owned(),
        });
        let mut request = RequestText::new(&method, &url)?;
        for header in &self.headers {
            request.add_header(header)?;
        }
        if let Some(user) = &self.user
            && !request.has("authorization")
        {
            request.set_user(user)?;
        }
        if let Some(body) = body {
            request.body = body;
            let form = match self.is_json {
                true => "application/json",
                false => "application/x-www-form-urlencoded",
            };
            if !request.has("content-type") {
                request.add_header(&format!("Content-Type: {form}"))?;
            }
        }
        Ok(request)
    }
}

/// A header of `-H`: `Name: value`, or `Name;` for an empty one. `Name:` removes one that curl would add.
fn header_of(value: String) -> Result<Option<Zeroizing<String>>, Failure> {
    if value.starts_with('@') {
        return Err(Failure::input(
            "headers from a file (`-H @FILE`) are not supported; write them out",
        ));
    }
    match (value.split_once(':'), value.strip_suffix(';')) {
        (Some((_, "")), _) => Ok(None),
        (Some(_), _) => Ok(Some(Zeroizing::new(value))),
        (None, Some(name)) => Ok(Some(Zeroizing::new(format!("{name}:")))),
        (None, None) => Err(Failure::input("a header of the curl command has no colon")),
    }
}

/// The data of `-d`, which leaves out the line ends of a file.
fn without_line_ends(value: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = data(value)?;
    if value.starts_with('@') {
        bytes.retain(|byte| !matches!(byte, b'\r' | b'\n'));
    }
    Ok(bytes)
}

/// The data of `--data-urlencode`: `content`, `=content`, `name=content`, `@file` or `name@file`.
fn encoded(value: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let at = value.find(['=', '@']);
    let (name, content) = match at.and_then(|at| value.split_at_checked(at)) {
        None => ("", Zeroizing::new(value.as_bytes().to_vec())),
        Some((name, rest)) => match rest.strip_prefix('@') {
            Some(file) => (name, contents(std::path::Path::new(file))?),
            None => (
                name,
                Zeroizing::new(rest.as_bytes().get(1..).unwrap_or_default().to_vec()),
            ),
        },
    };
    let content = percent_encoding::percent_encode(&content, percent_encoding::NON_ALPHANUMERIC).to_string();
    Ok(Zeroizing::new(match name.is_empty() {
        true => content.into_bytes(),
        false => format!("{name}={content}").into_bytes(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(line: &str) -> String {
        match parse(line).and_then(|request| request.bytes()) {
            Ok(bytes) => String::from_utf8(bytes.to_vec()).unwrap_or_default(),
            Err(failure) => format!("{failure:?}"),
        }
    }

    #[test]
    fn curl_line_becomes_the_request_that_curl_sends() {
        let expected = "POST /v1/track HTTP/1.1\r\nHost: a.test\r\nX-A: b c\r\nAuthorization: Basic a2V5Og==\r\n\
             Content-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"a\":\"it's 5\"}";
        for line in [
            r#"curl -sS -X POST https://a.test/v1/track -H 'X-A: b c' -u key: --json '{"a":"it'\''s 5"}'"#,
            "curl --url https://a.test/v1/track \\\n  -H 'X-A: b c' -ukey: -H 'Content-Type: application/json' \\\n \
             --data-raw \"{\\\"a\\\":\\\"it's 5\\\"}\" -o /dev/null",
        ] {
            let got = sent(line).replace(
                "Content-Type: application/json\r\nAuthorization: Basic a2V5Og==\r\n",
                "Authorization: Basic a2V5Og==\r\nContent-Type: application/json\r\n",
            );
            assert_eq!(got, expected, "{line}");
        }
    }

    #[test]
    fn data_is_joined_and_moved_to_the_query_by_get() {
        assert_eq!(
            sent("curl -d a=1 -d b=2 http://a.test/"),
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\na=1&b=2"
        );
        assert_eq!(
            sent("curl -G --data-urlencode 'b=x y' 'http://a.test/?a=1'"),
            "GET /?a=1&b=x%20y HTTP/1.1\r\nHost: a.test\r\n\r\n"
        );
    }

    #[test]
    fn what_curl_would_refuse_is_refused_by_name() {
        for (line, words) in [
            ("wget http://a.test/", "does not begin with `curl`"),
            ("curl -s", "no URL"),
            ("curl http://a.test/ http://b.test/", "more than one URL"),
            (
                "curl --frobnicate http://a.test/",
                "`--frobnicate` is not supported",
            ),
            ("curl -X", "`-X` has no value"),
            ("curl 'http://a.test/", "quote without its end"),
            ("curl --data-raw $'a' http://a.test/", "$'...'"),
            ("curl -H X http://a.test/", "no colon"),
        ] {
            assert!(sent(line).contains(words), "{line}: {}", sent(line));
        }
    }
}
