//! The header fields of a response that the gateway itself makes.

use std::borrow::Cow;

use pingora_error::BError;
use pingora_http::ResponseHeader;
use smallvec::SmallVec;

/// Names and values, in the order in which they are written.
pub type Fields<'a> = SmallVec<[(&'static str, Cow<'a, str>); 8]>;

/// A head with these fields.
///
/// # Errors
/// A value is no header value.
pub fn response_header(status: u16, fields: &Fields<'_>) -> Result<ResponseHeader, BError> {
    let mut head = ResponseHeader::build_no_case(status, Some(fields.len() + 4))?;
    for (name, value) in fields {
        head.append_header(*name, value.as_ref())?;
    }
    Ok(head)
}
