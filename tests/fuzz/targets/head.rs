//! A request's head: what is accepted has one host, one credential, one framing and one source, read a second
//! way. The first line is the request line, each further one a header, up to an empty one.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use bytes::BytesMut;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue};
use pingora_http::RequestHeader;
use portcullis::config::{Api, ErrorForm, Identify, Limits, PathPattern};
use portcullis::domain::facts::{SourceFact, UnknownSources, WithoutToken};
use portcullis::domain::ids::WriteKeyDigest;
use portcullis::domain::scope::Scope;
use portcullis::gateway::parsers::{end_of_head, parse};
use portcullis::gateway::read::credential::Credential;
use portcullis::gateway::read::route::Route;
use portcullis::gateway::read::{content, credential, head, route, source};

use super::common::in_linear_work;

pub fn run(data: &[u8]) {
    check_parser(data);
    check_parser(&wire(data));
    let Some(request) = request(data) else { return };
    let _ = content::coding(&request.headers);
    check_credential(&request);
    let bytewise = data.chunks(1);
    let _ = in_linear_work(data.len(), || end_of_head(bytewise, &Limits::default()));
    let _ = in_linear_work(data.len(), || head::has_token_in_query(&request));
    let Ok(head) = in_linear_work(data.len(), || head::head(&request, &Limits::default())) else {
        return;
    };
    let hosts: Vec<_> = request.headers.get_all(HOST).iter().collect();
    let authority = request.uri.authority().map(|held| held.as_str().to_owned());
    let named = hosts.first().map(|held| held.to_str().unwrap().to_owned());
    let authority: http::uri::Authority = named.or(authority).unwrap().parse().unwrap();
    assert_eq!(head.host, authority.host().to_ascii_lowercase());
    assert!(hosts.len() < 2 && !authority.as_str().contains('@'));
    let one = |name| request.headers.get_all(name).iter().count() < 2;
    assert!(one(CONTENT_LENGTH) && one(TRANSFER_ENCODING));
    if let Some(length) = request.headers.get(CONTENT_LENGTH) {
        assert!(length.as_bytes().iter().all(u8::is_ascii_digit));
    }
    let api = api();
    let method = request.method.as_str();
    if let Ok(Route::Api(_, held)) = route::route(std::slice::from_ref(&api), &head, method) {
        check_source(held, &request);
    }
}

/// The same lines as an HTTP/1 head on the wire.
fn wire(data: &[u8]) -> Vec<u8> {
    let mut lines = data
        .split(|byte| *byte == b'\n')
        .take_while(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let mut wire = [first, b" HTTP/1.1\r\n"].concat();
    for line in lines {
        wire.extend_from_slice(line);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"\r\nbehind");
    wire
}

/// What the gateway's parser accepts, an independent one reads alike.
fn check_parser(data: &[u8]) {
    let end = end_of_head(std::iter::once(data), &Limits::default());
    let Ok(Some(end)) = end else { return };
    let parsed = in_linear_work(end, || parse(BytesMut::from(&data[..end])));
    let Ok((request, lines)) = parsed else { return };
    if !request.raw_path().is_ascii() {
        // Left to the check of the path.
        assert!(head::head(&request, &Limits::default()).is_err());
        return;
    }
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut other = httparse::Request::new(&mut headers);
    assert_eq!(other.parse(data), Ok(httparse::Status::Complete(end)));
    assert_eq!(other.method, Some(request.method.as_str()));
    assert_eq!(other.path.map(str::as_bytes), Some(request.raw_path()));
    assert_eq!(
        other.version == Some(1),
        request.version == http::Version::HTTP_11
    );
    let ours: Vec<_> = lines.iter().map(|(_, spelled, value)| (spelled, value)).collect();
    let others = other
        .headers
        .iter()
        .map(|header| (header.name.as_bytes(), header.value));
    assert_eq!(ours, others.collect::<Vec<_>>());
    for (name, spelled, value) in lines.iter() {
        assert!(name.as_str().as_bytes().eq_ignore_ascii_case(spelled));
        let mut held = request.headers.get_all(name).iter();
        assert!(held.any(|held| held.as_bytes() == value));
    }
    assert_eq!(request.headers.len(), ours.len());
}

fn request(data: &[u8]) -> Option<RequestHeader> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut words = lines.next()?.splitn(2, |byte| *byte == b' ');
    let (method, target) = (words.next()?, words.next()?);
    let method = http::Method::from_bytes(method).ok()?;
    let mut request = RequestHeader::build(method, target, None).ok()?;
    for line in lines.take_while(|line| !line.is_empty()) {
        let at = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        let value = HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?;
        request.append_header(name, value).ok()?;
    }
    Some(request)
}

fn api() -> Api {
    Api {
        name: "functions".to_owned(),
        hosts: vec!["*".to_owned()],
        paths: vec![PathPattern::Prefix("/".to_owned()).into()],
        scope: Scope::parse("functions:write").unwrap(),
        identify: vec![
            Identify::Basic,
            Identify::Query("b".to_owned()),
            Identify::Header("x-key".to_owned()),
        ],
        upstream: "main".to_owned(),
        unknown_sources: UnknownSources::Deny,
        without_token: WithoutToken::Deny,
        reauthenticate_status: 401,
        forward_token: false,
        cors: None,
        error_form: ErrorForm::OAuth,
    }
}

fn check_credential(request: &RequestHeader) {
    let all: Vec<_> = request.headers.get_all(AUTHORIZATION).iter().collect();
    let said = |scheme: &str, rest: &str| {
        let value = all[0].to_str().unwrap();
        let (held, given) = value.split_once(' ').unwrap();
        assert!(held.eq_ignore_ascii_case(scheme));
        assert_eq!(given.trim_start_matches(' '), rest);
        assert!(!rest.contains([' ', '\t', ',']), "a second credential");
        assert_eq!(all.len(), 1);
    };
    match credential::credential(&request.headers) {
        Credential::Missing => assert!(all.is_empty()),
        Credential::Token(text) => {
            assert_eq!(text.split('.').count(), 3);
            said("bearer", &text);
        }
        Credential::Basic(user) => {
            let value = all[0].to_str().unwrap();
            let rest = value.rsplit(' ').next().unwrap();
            said("basic", rest);
            let pair = STANDARD.decode(rest).unwrap();
            assert!(pair.starts_with(&user) && pair.get(user.len()) == Some(&b':'));
            assert!(!user.contains(&b':'));
        }
        Credential::OtherScheme { scheme, value } => said(scheme, &value),
        Credential::Opaque | Credential::Unreadable(_) | Credential::Conflicting => assert!(!all.is_empty()),
    }
}

/// The user of Basic as the most forgiving decoders read it: with or without padding, in either alphabet, with
/// bits left over, and all other characters left out.
fn lenient_users(value: &HeaderValue) -> Vec<Vec<u8>> {
    let value = value.as_bytes().trim_ascii();
    let Some((scheme, rest)) = value.split_at_checked(5) else {
        return Vec::new();
    };
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return Vec::new();
    }
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let is_letter = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    let letters: Vec<u8> = rest.iter().filter(is_letter).copied().collect();
    [alphabet::STANDARD, alphabet::URL_SAFE]
        .into_iter()
        .filter_map(|alphabet| GeneralPurpose::new(&alphabet, config).decode(&letters).ok())
        .filter_map(|pair| {
            let at = pair.iter().position(|byte| *byte == b':')?;
            Some(pair[..at].to_vec())
        })
        .collect()
}

/// Every key that some server could find must be the key that was found.
fn check_source(api: &Api, request: &RequestHeader) {
    let credential = credential::credential(&request.headers);
    let bytes = request.raw_path().len();
    let source = in_linear_work(bytes, || source::source(api, request, &credential, None));
    let SourceFact::WriteKey(found) = source else {
        return;
    };
    if let Credential::Basic(user) = &credential {
        assert_eq!(found, WriteKeyDigest::of(user));
    }
    // More than one is refused before a source is asked for.
    if !matches!(credential, Credential::Conflicting) {
        for user in request
            .headers
            .get_all(AUTHORIZATION)
            .iter()
            .flat_map(lenient_users)
        {
            assert_eq!(
                found,
                WriteKeyDigest::of(&user),
                "a lenient reader finds another key"
            );
        }
    }
    for (name, value) in &request.headers {
        if name.as_str().replace('_', "-") == "x-key" {
            assert_eq!(found, WriteKeyDigest::of(value.as_bytes()));
        }
    }
    let target = std::str::from_utf8(request.raw_path()).unwrap();
    let query = target.split_once('?').map_or("", |(_, query)| query);
    for pair in query.split('&') {
        if let Some(key) = pair.strip_prefix("b=").filter(|key| !key.contains('%')) {
            assert_eq!(found, WriteKeyDigest::of(key.as_bytes()));
        }
    }
}
