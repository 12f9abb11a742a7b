//! Parsing of `multipart/form-data` (RFC 7578) from a complete, bounded body.
//!
//! It is as strict as forms without files: a repeated field, a part without a name, text that is not UTF-8 and NUL
//! characters are rejected.

use std::collections::HashSet;
use std::convert::Infallible;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::stream;
use multer::{Field, Multipart, parse_boundary};

use crate::domain::cost;

/// The most parts of one form.
const PARTS_MAX: usize = 64;

/// Name and value of each field. A selected file is its content, with U+FFFD for bytes that are not text; a file that was
/// not selected is empty.
pub fn parse(content_type: &str, body: &[u8]) -> Option<Vec<(String, String)>> {
    let boundary = parse_boundary(content_type).ok()?;
    cost::count(2 * body.len());
    let body = Bytes::copy_from_slice(body);
    let body = stream::iter([Ok::<_, Infallible>(body)]);
    // The body is complete, so no step of it waits.
    fields(Multipart::new(body, boundary)).now_or_never().flatten()
}

async fn fields(mut form: Multipart<'_>) -> Option<Vec<(String, String)>> {
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut names = HashSet::new();
    while let Some(field) = form.next_field().await.ok()? {
        let (name, value) = read(field).await?;
        if fields.len() == PARTS_MAX || !names.insert(name.clone()) {
            return None;
        }
        fields.push((name, value));
    }
    Some(fields)
}

async fn read(field: Field<'_>) -> Option<(String, String)> {
    let name = field.name().filter(|name| !name.is_empty())?.to_owned();
    let is_file = field.file_name().is_some();
    let bytes = field.bytes().await.ok()?;
    cost::count(2 * bytes.len());
    let value = if is_file {
        String::from_utf8_lossy(&bytes).replace('\0', "\u{fffd}")
    } else {
        String::from_utf8(bytes.into()).ok()?
    };
    (!value.contains('\0') && !name.contains('\0')).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "multipart/form-data; boundary=----b1";

    fn fields(body: &str) -> Option<Vec<(String, String)>> {
        parse(KIND, body.replace('\n', "\r\n").as_bytes())
    }

    #[test]
    fn fields_and_files_are_read_whole() {
        let body = "------b1\nContent-Disposition: form-data; name=\"name\"\n\nA -- b\n--\n------b1\n\
                    Content-Disposition: form-data; name=\"file\"; filename=\"name=\\\"x\\\"\"\n\
                    Content-Type: application/octet-stream\n\nline\nline\n\n------b1--\n";
        let read = fields(body).unwrap();
        assert_eq!(read[0], ("name".to_owned(), "A -- b\r\n--".to_owned()));
        assert_eq!(read[1], ("file".to_owned(), "line\r\nline\r\n".to_owned()));
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn malformed_forms_are_rejected() {
        let part = "------b1\nContent-Disposition: form-data; name=\"a\"\n\n1\n";
        assert!(fields(&format!("{part}------b1--\n")).is_some());
        assert!(fields(&format!("{part}{part}------b1--\n")).is_none(), "twice");
        assert!(fields(part).is_none(), "no end");
        assert!(fields("------b2--\n").is_none(), "another boundary");
        assert!(fields("------b1\nContent-Disposition: form-data\n\n1\n------b1--\n").is_none());
        assert!(fields("------b1\nContent-Disposition: form-data; name=\"a\"\n\n\0\n------b1--\n").is_none());
        assert!(parse("multipart/form-data", b"--\r\n").is_none());
        let many: String = (0..65)
            .map(|n| format!("------b1\nContent-Disposition: form-data; name=\"n{n}\"\n\n1\n"))
            .collect();
        assert!(fields(&format!("{many}------b1--\n")).is_none());
    }

    #[test]
    fn binary_files_become_replacement_characters() {
        let body =
            b"------b1\r\nContent-Disposition: form-data; name=\"pem_file\"; filename=\"key.der\"\r\n\r\n\
                     0\x82\0\xff\r\n------b1--\r\n";
        let read = parse(KIND, body).unwrap();
        assert_eq!(read[0].1, "0\u{fffd}\u{fffd}\u{fffd}");
        let text = body.as_slice();
        let text = String::from_utf8_lossy(text).replace("; filename=\"key.der\"", "");
        assert!(parse(KIND, text.as_bytes()).is_none(), "NUL in a text field");
    }
}
