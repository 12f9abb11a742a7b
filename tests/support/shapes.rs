//! Every parser that reads what a client sends, with a plain input of its own and shapes that could be expensive for it.
//!
//! A shape is a frame of the parser around what repeats: delimiters, escapes, nesting, long keys, names with one
//! beginning, percent encodings, many members, parts, cookies, blocks and keys. `tests/fuzz/cost.rs` counts what each
//! costs, `benches/parsers.rs` measures it.

#![allow(
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::unwrap_used,
    reason = "a test may fail by panicking, and all that is sent has one form"
)]

use std::io::Write as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue};
use pingora_http::RequestHeader;
use portcullis::config::{Api, ErrorForm, Identify, Limits, PathPattern};
use portcullis::control::Form;
use portcullis::control::parsers::{Cookie, Cookies, has_nul_escape, parse_multipart, search_text};
use portcullis::domain::facts::{UnknownSources, WithoutToken};
use portcullis::domain::json::Object;
use portcullis::domain::jws::{CompactJws, looks_like_jws};
use portcullis::domain::key::{Algorithm, PublicKey};
use portcullis::domain::scope::Scope;
use portcullis::gateway::parsers::{end_of_head, parse};
use portcullis::gateway::read::body::{Held, HeldBytes};
use portcullis::gateway::read::body_keys::{has_token_in_form, write_keys};
use portcullis::gateway::read::json::scan::scan;
use portcullis::gateway::read::{credential, head, source};
use portcullis::snapshot::KeyBounds;

/// A parser, and what to try it with.
pub struct Parser {
    pub name: &'static str,
    /// About how long its inputs are, in bytes: what it accepts at most, or enough to tell.
    bytes: usize,
    /// What clients send: begins, repeats (`#` is a number) and ends.
    plain: [&'static str; 3],
    /// Further frames around what repeats.
    frames: &'static [[&'static str; 2]],
    /// What repeats, alone and mixed. `#` is a number, `~` a long text that is the same each time.
    pieces: &'static [&'static str],
    /// What the bytes are sent as, where that is not themselves.
    pub sent: fn(Vec<u8>) -> Vec<u8>,
    pub run: fn(&[u8]),
}

const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\n",
    "\\\\",
    "\\\"",
    "\\u0061",
    "\\ud83d",
    "1",
    "1,",
    "-0.5e+1,",
    "true,",
    "[],",
    "{},",
    "\"\":",
    "\"\",",
    "\"\":1,",
    "\"a\":[",
    "{\"a\":",
    "\"writeKey\":",
    "\"batch\":[",
    "\"\\u0077\\u0072\\u0069\\u0074\\u0065\\u004b\\u0065\\u0079\":1,",
    "{\"writeKey\":\"k\"},",
    "{\"write\\u004bey\":\"k\"},",
    "\"k#~\":1,",
    "\"~#\":1,",
    "\"\\n~\":1,",
    " ",
    "\n",
    "\t\r\n",
    "\u{e9}",
    "\u{212a}",
    "\"\u{10ffff}\":1,",
    "wr\u{131}te",
    "\u{0}",
    "12345678901234567890",
];

const JSON_FRAMES: &[[&str; 2]] = &[
    ["", ""],
    ["{\"a\":[", "1],\"writeKey\":\"k\"}"],
    ["{\"a\":\"", "\",\"writeKey\":\"k\"}"],
    ["{\"", "\":1,\"writeKey\":\"k\"}"],
    [
        "{\"",
        "\"::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::",
    ],
    [
        "{\"\\n",
        "\" : : : : : : : : : : : : : : : : : : : : : : : : : : : : : : : :",
    ],
    ["{\"batch\":[", "{}],\"writeKey\":\"k\"}"],
    ["{\"batch\":{", "\"z\":1},\"writeKey\":\"k\"}"],
    ["{\"batch\":[{", "\"z\":1}],\"writeKey\":\"k\"}"],
    ["{\"writeKey\":\"", "\"}"],
    ["{\"writeKey\":", "\"k\"}"],
    ["{\"a\":", "}"],
    ["{", "\"z\":1}"],
];

const PAIRS: &[&str] = &[
    "a=1&",
    "&",
    "=",
    ";",
    "%",
    "%61",
    "%00",
    "+",
    "%20",
    "[",
    ".",
    "a",
    "a#=1&",
    "~#=1&",
    "#~=1&",
    "=&",
    "a;b;",
    "access_token",
    "access_toke&",
    "+access_toke&",
    "%61%63%63%65%73%73%5f%74%6f%6b%65%6e%73&",
    "b",
    "b=",
    "B=k&",
    "\u{e9}",
    "b%",
    "access%5Ftokeg[&",
    "++++++++++++++++b&",
];

const PAIR_FRAMES: &[[&str; 2]] = &[["", ""], ["a=", ""], ["", "=1"], ["&", "&b=k"], ["b=", "&b=k"]];

/// An event as clients send them.
const EVENT: &str = "{\"type\":\"track\",\"event\":\"Order \\\"Completed\\\"\",\"messageId\":\"00000000-0000-4000-8000-#\",\"properties\":{\"total\":19.9,\"currency\":\"EUR\"}},";

pub const PARSERS: [Parser; 18] = [
    Parser {
        name: "body scan",
        bytes: 16 * 1024,
        plain: ["{\"batch\":[", EVENT, "{}],\"writeKey\":\"k\"}"],
        frames: JSON_FRAMES,
        pieces: JSON,
        sent: itself,
        run: |body| {
            let _ = scan(body);
        },
    },
    Parser {
        name: "gzip body",
        bytes: 16 * 1024,
        plain: ["{\"batch\":[", EVENT, "{}],\"writeKey\":\"k\"}"],
        frames: JSON_FRAMES,
        pieces: JSON,
        sent: gzip,
        run: |gzip| {
            let (limits, headers) = (Limits::default(), headers(&[(CONTENT_ENCODING.as_str(), "gzip")]));
            let _ = now(write_keys(&headers, &held(gzip), &limits));
        },
    },
    Parser {
        name: "form in front of an upstream",
        bytes: 16 * 1024,
        plain: ["", "name#=value+%26+more&", "z=1"],
        frames: PAIR_FRAMES,
        pieces: PAIRS,
        sent: itself,
        run: |body| {
            let headers = headers(&[(CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded")]);
            let _ = now(has_token_in_form(&headers, &held(body), &Limits::default()));
        },
    },
    Parser {
        name: "form of the token endpoint",
        bytes: 16 * 1024,
        plain: [
            "client_assertion=",
            "eyJhbGciOiJFUzI1NiJ9%2E#",
            "&grant_type=client_credentials",
        ],
        frames: PAIR_FRAMES,
        pieces: PAIRS,
        sent: itself,
        run: |body| drop(Form::parse(body)),
    },
    Parser {
        name: "form of the console",
        bytes: 16 * 1024,
        plain: ["csrf=0123&", "source_admin.src_%23#=~&", "name=x"],
        frames: PAIR_FRAMES,
        pieces: PAIRS,
        sent: itself,
        run: |body| drop(Form::parse_up_to(512, body)),
    },
    Parser {
        name: "query",
        bytes: 7 * 1024,
        plain: ["b=k&", "name#=value%20more&", "z=1"],
        frames: PAIR_FRAMES,
        pieces: PAIRS,
        sent: as_target_with_query,
        run: |target| {
            let Some(request) = request(target) else { return };
            let _ = head::has_token_in_query(&request);
            let _ = source::source(&api(), &request, &credential::Credential::Missing, None);
        },
    },
    Parser {
        name: "audit filter",
        bytes: 7 * 1024,
        plain: ["actor=", "ada%40example.com#", "&action=app.created"],
        frames: PAIR_FRAMES,
        pieces: PAIRS,
        sent: itself,
        run: |query| {
            let Ok(form) = Form::parse(query) else { return };
            let names = [
                "actor",
                "action",
                "resource_type",
                "resource_id",
                "since",
                "until",
            ];
            let _ = (form.unknown(&names), form.without_value());
            let _ = names.map(|name| form.get(name).map(str::len));
        },
    },
    Parser {
        name: "search",
        bytes: 512,
        plain: ["", "orders # ", ""],
        frames: &[["", ""]],
        pieces: &["%", "_", "\\", "a", "\u{e9}", "\u{130}", "\u{1e9e}", "%_", "a%"],
        sent: itself,
        run: |text| drop(std::str::from_utf8(text).map(search_text)),
    },
    Parser {
        name: "path",
        bytes: 7 * 1024,
        plain: ["/v1", "/segment#", ""],
        frames: &[["/", ""], ["/", "%20"], ["/", "%2f"], ["/%20", "/.."], ["", ""]],
        pieces: &[
            "/", ".", "..", "a", "%20", "%C3", "%2e", "%", ";", "a/", "./", "/..a", "~", "//", "\\",
        ],
        sent: itself,
        run: |path| {
            let Some(request) = request(path) else { return };
            let _ = head::head(&request, &Limits::default());
        },
    },
    Parser {
        name: "head in pieces",
        bytes: 16 * 1024,
        plain: [
            "POST /v1/batch HTTP/1.1\r\nHost: a\r\n",
            "X-Name-#: ~\r\n",
            "\r\n",
        ],
        frames: &[
            ["GET / HTTP/1.1\r\n", "\r\n"],
            ["GET /", " HTTP/1.1\r\n\r\n"],
            ["GET / HTTP/1.1\r\nA: ", "\r\n\r\n"],
            ["", ""],
        ],
        pieces: &[
            "\r\n",
            "\n",
            "\r",
            "a:\r\n",
            "Content-Length:1\r\n",
            "t:\r\n",
            "a",
            " ",
            "\t",
            "c~:\r\n",
            ":",
            "#",
            "PRI * HTTP/2.0",
        ],
        sent: itself,
        run: |head| {
            if let Ok(Some(end)) = end_of_head(head.chunks(7), &Limits::default()) {
                let _ = parse(BytesMut::from(head.get(..end).unwrap_or_default()));
            }
        },
    },
    Parser {
        name: "authorization and connection",
        bytes: 8 * 1024,
        plain: ["Bearer ", "eyJhbGciOiJFUzI1NiJ9#", ".e30.AA"],
        frames: &[
            ["Bearer ", ""],
            ["Basic ", ""],
            ["Basic ", "=="],
            ["", ""],
            ["close, ", ""],
        ],
        pieces: &[
            ".", "a", " ", "Og", "=", "AAAA", ",", "close,", "te, ", "\t", "OjpO",
        ],
        sent: itself,
        run: |value| {
            let Ok(value) = HeaderValue::from_bytes(value) else {
                return;
            };
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            request.insert_header("host", "a.test").unwrap();
            request.insert_header("connection", value.clone()).unwrap();
            request.insert_header("authorization", value).unwrap();
            let _ = credential::credential(&request.headers);
            let _ = head::head(&request, &Limits::default());
        },
    },
    Parser {
        name: "JWS",
        bytes: 8 * 1024,
        plain: ["eyJhbGciOiJFZERTQSIsImtpZCI6ImEifQ.", "eyJzdWIi#", ".AAAA"],
        frames: &[
            ["", ""],
            ["eyJhbGciOiJFZERTQSIsImtpZCI6ImEifQ.", ".AAAA"],
            ["e30.", ".AA"],
            ["", ".e30.AA"],
        ],
        pieces: &[".", "a", "eyJ", "AAAA", "-", "=", "..", "e30."],
        sent: itself,
        run: |token| {
            let Ok(token) = std::str::from_utf8(token) else {
                return;
            };
            let _ = looks_like_jws(token);
            if let Ok(jws) = CompactJws::parse(token) {
                drop(jws.unverified_claims());
            }
        },
    },
    Parser {
        name: "claims",
        bytes: 6 * 1024,
        plain: [
            "{\"iss\":\"https://auth.test\",\"aud\":[",
            "\"https://gateway.test/#\",",
            "\"x\"],\"exp\":1795000000}",
        ],
        frames: &[
            ["", ""],
            ["{\"a\":[", "1]}"],
            ["{\"a\":\"", "\"}"],
            ["{\"", "\":1}"],
            ["{", "\"z\":1}"],
            ["{\"a\":{", "\"z\":1}}"],
            ["{\"a\":[{", "\"z\":1}]}"],
        ],
        pieces: JSON,
        sent: itself,
        run: |claims| drop(Object::parse(claims)),
    },
    Parser {
        name: "JWKS",
        bytes: 7 * 1024,
        plain: [
            "{\"keys\":[",
            "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"k#\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"},",
            "{\"kty\":\"x\"}]}",
        ],
        frames: &[
            ["{\"keys\":[", "{\"kty\":\"x\"}]}"],
            ["{\"keys\":[{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"", "\"}]}"],
        ],
        pieces: &[
            "{\"kty\":\"x\"},",
            "{\"kty\":\"RSA\",\"n\":\"~\",\"e\":\"AQAB\"},",
            "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"~\",\"kid\":\"~#\"},",
            "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"~\",\"y\":\"~\"},",
            "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"k\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"},",
            "{\"kty\":\"a\",\"key_ops\":[\"a\",\"a\",\"a\",\"a\"]},",
            "A",
            "\\u0041",
        ],
        sent: itself,
        run: |set| {
            drop(portcullis::key_sets::parse(
                set,
                &Algorithm::ALL,
                KeyBounds::default(),
            ));
        },
    },
    Parser {
        name: "PEM",
        bytes: 15 * 1024,
        plain: [
            "-----BEGIN PUBLIC KEY-----\n",
            "MCowBQYDK2VwAyEA11qYAYKxCrfVS#\n",
            "-----END PUBLIC KEY-----\n",
        ],
        frames: &[
            ["", ""],
            ["-----BEGIN PUBLIC KEY-----\n", "-----END PUBLIC KEY-----\n"],
            ["-----BEGIN ", "-----"],
            ["-----BEGIN PUBLIC KEY-----\n", ""],
        ],
        pieces: &[
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            "-----BEGIN ",
            "-----END PUBLIC KEY----",
            "-",
            "-----",
            "PRIVATE KEY----",
            "\n",
            " ",
            "A",
            "=",
            "\u{e9}",
        ],
        sent: itself,
        run: |text| drop(std::str::from_utf8(text).map(PublicKey::from_pem)),
    },
    Parser {
        name: "multipart",
        bytes: 16 * 1024,
        plain: [
            "--b\r\nContent-Disposition: form-data; name=\"pem\"; filename=\"a.pem\"\r\n\r\n",
            "MCowBQYDK2VwAyEA11qYAYKxCrfVS#\r\n",
            "\r\n--b--\r\n",
        ],
        frames: &[
            ["", "--b--\r\n"],
            [
                "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n",
                "\r\n--b--",
            ],
            [
                "--b\r\nContent-Disposition: form-data; name=\"",
                "\"\r\n\r\n1\r\n--b--",
            ],
            ["--b\r\n", "\r\n\r\n1\r\n--b--"],
            ["--b\r\n", ""],
        ],
        pieces: &[
            "--b\r\nContent-Disposition: form-data; name=\"n#\"\r\n\r\n\r\n",
            "--b\r\nContent-Disposition: form-data; name=\"~#\"\r\n\r\n1\r\n",
            "--b\r\n\r\n\r\n",
            "\r\n",
            "\r\n--",
            "\r\n-",
            "a:\r\n",
            "name=\"",
            ";",
            "--",
            "-",
            "\u{e9}",
        ],
        sent: itself,
        run: |body| drop(parse_multipart("multipart/form-data; boundary=b", body)),
    },
    Parser {
        name: "body of the management API",
        bytes: 16 * 1024,
        plain: ["{\"name\":\"", "a name \\n#", "\"}"],
        frames: JSON_FRAMES,
        pieces: JSON,
        sent: itself,
        run: |body| {
            let _ = has_nul_escape(body);
        },
    },
    Parser {
        name: "cookies",
        bytes: 16 * 1024,
        plain: ["__Host-portcullis=0123; ", "name#=value; ", "z=1"],
        frames: &[["", ""], ["a=", ""], ["__Host-portcullis=", ""]],
        pieces: &[
            "a=1; ",
            ";",
            "=",
            " ",
            "__Host-portcullis=1;",
            "__Host-portcullis;",
            "~#=1;",
            "#~;",
            "\t",
        ],
        sent: itself,
        run: |value| {
            let Ok(value) = HeaderValue::from_bytes(value) else {
                return;
            };
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, value);
            let cookies = Cookies::of("https://auth.test");
            let _ = cookies.get(Cookie::Session, &headers);
        },
    },
];

impl Parser {
    /// What clients send.
    pub fn plain(&self) -> Vec<u8> {
        let [head, piece, tail] = self.plain;
        self.framed(head, &[piece], tail)
    }

    /// The shape of this number: each frame with each piece, then frames and mixtures at random.
    pub fn shape(&self, number: usize, random: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
        let in_turn = self.frames.len() * self.pieces.len();
        // With few pieces every pair has its turn; with many, chance decides which of them.
        let pair = if in_turn <= 150 {
            number
        } else {
            random(2 * in_turn)
        };
        if pair < in_turn {
            let [head, tail] = self.frames[pair % self.frames.len()];
            return self.framed(head, &[self.pieces[pair / self.frames.len()]], tail);
        }
        let [head, tail] = self.frames[random(self.frames.len())];
        let period = 2 + random(8);
        let pieces: Vec<&str> = (0..period)
            .map(|_| self.pieces[random(self.pieces.len())])
            .collect();
        self.framed(head, &pieces, tail)
    }

    fn framed(&self, head: &str, pieces: &[&str], tail: &str) -> Vec<u8> {
        let same = "x".repeat(self.bytes / 64);
        let mut text = head.to_owned();
        for (number, piece) in pieces.iter().cycle().enumerate() {
            let piece = piece.replace('#', &format!("{number:012}")).replace('~', &same);
            if text.len() + piece.len() + tail.len() > self.bytes {
                break;
            }
            text.push_str(&piece);
        }
        text.push_str(tail);
        text.into_bytes()
    }
}

fn itself(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

fn gzip(bytes: Vec<u8>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&bytes).unwrap();
    encoder.finish().unwrap()
}

fn as_target_with_query(query: Vec<u8>) -> Vec<u8> {
    [b"/?".as_slice(), &query].concat()
}

fn request(target: &[u8]) -> Option<RequestHeader> {
    let mut request = RequestHeader::build("GET", target, None).ok()?;
    request.insert_header("host", "a.test").unwrap();
    Some(request)
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
        .collect()
}

fn held(body: &[u8]) -> Held {
    Held::for_test(Bytes::copy_from_slice(body), &HeldBytes::new(&Limits::default()))
}

fn api() -> Api {
    Api {
        name: "functions".to_owned(),
        hosts: vec!["*".to_owned()],
        paths: vec![PathPattern::Prefix("/".to_owned()).into()],
        scope: Scope::parse("functions:write").unwrap(),
        identify: vec![Identify::Query("b".to_owned())],
        upstream: "main".to_owned(),
        unknown_sources: UnknownSources::Deny,
        without_token: WithoutToken::Deny,
        reauthenticate_status: 401,
        forward_token: false,
        cors: None,
        error_form: ErrorForm::OAuth,
    }
}

/// The output of a future that waits for nobody else.
fn now<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}
