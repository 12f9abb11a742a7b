//! Cross-origin requests of browsers (the Fetch standard, section 3.3): preflights, and which origins may read.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::config::{Cors, Origins};

/// What scripts may read besides the headers that they always may: SDKs wait as long as these say.
const EXPOSED: HeaderValue = HeaderValue::from_static("Retry-After, X-RateLimit-Reset, X-Request-Id");

/// So many header names of a preflight are allowed at most, and so many bytes of them.
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 2048;

/// The longest method that a preflight may ask for, in bytes.
const METHOD_BYTES_MAX: usize = 32;

/// The method that a preflight asks for; `None` for any other request.
#[must_use]
pub fn preflight(request: &RequestHeader) -> Option<&str> {
    let mut asked = request.headers.get_all(ACCESS_CONTROL_REQUEST_METHOD).iter();
    let method = asked.next()?.to_str().ok()?;
    let is_preflight = request.method == Method::OPTIONS
        && request.headers.contains_key(ORIGIN)
        && asked.next().is_none()
        && (1..=METHOD_BYTES_MAX).contains(&method.len())
        && Method::from_bytes(method.as_bytes()).is_ok();
    is_preflight.then_some(method)
}

/// What one response says about who may read it.
pub struct CorsHeaders {
    /// `None` for an origin that may not.
    allowed: Option<HeaderValue>,
    with_credentials: bool,
}

impl CorsHeaders {
    /// What responses to a request with these headers say.
    #[must_use]
    pub fn new(cors: &Cors, request: &HeaderMap) -> Self {
        let mut sent = request.get_all(ORIGIN).iter();
        let origin = sent.next().filter(|_| sent.next().is_none());
        let allowed = match &cors.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Listed(listed) => origin
                .filter(|origin| listed.iter().any(|held| held.as_bytes() == origin.as_bytes()))
                .cloned(),
        };
        Self {
            with_credentials: cors.credentials && cors.origins != Origins::Any,
            allowed,
        }
    }

    /// Sets the headers of a response, in place of those that the upstream may have set.
    ///
    /// # Errors
    /// None in practice: the values were header values before.
    pub fn apply(&self, response: &mut ResponseHeader) -> Result<()> {
        for name in [
            &ACCESS_CONTROL_ALLOW_ORIGIN,
            &ACCESS_CONTROL_ALLOW_CREDENTIALS,
            &ACCESS_CONTROL_EXPOSE_HEADERS,
        ] {
            response.remove_header(name);
        }
        if !varies_by_origin(response) {
            response.append_header(VARY, "Origin")?;
        }
        let Some(origin) = &self.allowed else {
            return Ok(());
        };
        response.insert_header(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone())?;
        response.insert_header(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED)?;
        if self.with_credentials {
            response.insert_header(ACCESS_CONTROL_ALLOW_CREDENTIALS, "true")?;
        }
        Ok(())
    }
}

fn varies_by_origin(response: &ResponseHeader) -> bool {
    let values = response.headers.get_all(VARY).iter();
    let mut names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.any(|name| matches!(name.trim_ascii(), b"*") || name.trim_ascii().eq_ignore_ascii_case(b"origin"))
}

/// The response to a preflight that asks for `method`. For an origin that `cors` does not allow it has no allow headers,
/// so the browser does not send the request.
///
/// # Errors
/// None in practice: the values were header values before.
pub fn answer(
    cors: Option<&Cors>,
    request: &RequestHeader,
    method: &str,
    request_id: &str,
) -> Result<ResponseHeader> {
    let mut response = ResponseHeader::build_no_case(204, Some(8))?;
    response.insert_header("X-Request-Id", request_id)?;
    response.insert_header(
        VARY,
        "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
    )?;
    let Some(cors) = cors else { return Ok(response) };
    let headers = CorsHeaders::new(cors, &request.headers);
    if headers.allowed.is_none() {
        return Ok(response);
    }
    headers.apply(&mut response)?;
    response.remove_header(&ACCESS_CONTROL_EXPOSE_HEADERS);
    response.insert_header(ACCESS_CONTROL_ALLOW_METHODS, method)?;
    if let Some(asked) = asked_headers(&request.headers) {
        response.insert_header(ACCESS_CONTROL_ALLOW_HEADERS, asked)?;
    }
    response.insert_header(ACCESS_CONTROL_MAX_AGE, cors.max_age.as_secs().to_string())?;
    Ok(response)
}

/// The header names that a preflight asks for, if all of them are names and there are not too many.
fn asked_headers(request: &HeaderMap) -> Option<String> {
    let mut names = Vec::new();
    for value in request.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
        let value = value.to_str().ok()?;
        names.extend(value.split(',').map(str::trim).filter(|name| !name.is_empty()));
        let bytes: usize = names.iter().map(|name| name.len()).sum();
        if names.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
            return None;
        }
    }
    let are_names = names
        .iter()
        .all(|name| HeaderName::from_bytes(name.as_bytes()).is_ok());
    (are_names && !names.is_empty()).then(|| names.join(", "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn request(headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("OPTIONS", b"/v1/t", None).unwrap();
        for (name, value) in headers {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn cors(origins: Origins) -> Cors {
        Cors {
            origins,
            credentials: false,
            max_age: Duration::from_secs(600),
        }
    }

    #[test]
    fn preflight_has_an_origin_and_asks_for_one_method() {
        let asks = |method| ("access-control-request-method", method);
        let origin = ("origin", "https://a.test");
        assert_eq!(preflight(&request(&[origin, asks("POST")])), Some("POST"));
        for other in [
            vec![origin],
            vec![asks("POST")],
            vec![origin, asks("POST"), asks("GET")],
            vec![origin, asks("PO ST")],
            vec![origin, asks("")],
        ] {
            assert_eq!(preflight(&request(&other)), None, "{other:?}");
        }
    }

    #[test]
    fn asked_headers_are_echoed_if_they_are_names() {
        let echoed =
            |value: &str| asked_headers(&request(&[("access-control-request-headers", value)]).headers);
        assert_eq!(
            echoed("authorization,content-type"),
            Some("authorization, content-type".to_owned())
        );
        assert_eq!(echoed("authorization, x y"), None);
        assert_eq!(echoed(""), None);
        assert_eq!(
            echoed(&"a,".repeat(HEADERS_MAX)).map(|echoed| echoed.len()),
            Some(190)
        );
        assert_eq!(echoed(&"a,".repeat(HEADERS_MAX + 1)), None);
        assert_eq!(echoed(&"a".repeat(HEADER_BYTES_MAX + 1)), None);
    }

    #[test]
    fn upstreams_own_headers_are_replaced() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        response
            .append_header(ACCESS_CONTROL_ALLOW_ORIGIN, "https://evil.test")
            .unwrap();
        response.append_header(VARY, "Accept-Encoding, origin").unwrap();
        let listed = cors(Origins::Listed(vec!["https://a.test".to_owned()]));
        let of = |origin| CorsHeaders::new(&listed, &request(&[("origin", origin)]).headers);
        of("https://a.test").apply(&mut response).unwrap();
        assert_eq!(response.headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.test");
        assert_eq!(response.headers.get_all(VARY).iter().count(), 1);
        of("https://b.test").apply(&mut response).unwrap();
        assert!(!response.headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        CorsHeaders::new(&cors(Origins::Any), &HeaderMap::new())
            .apply(&mut response)
            .unwrap();
        assert_eq!(response.headers[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }
}
