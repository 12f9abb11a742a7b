//! Reading of `multipart/form-data` (RFC 7578) from a body that is there whole and bounded.
//!
//! As strict as the forms without files: a field given twice, a part without a name, bytes that are not UTF-8 and
//! NUL characters are refused. What a browser sends is all that is read.

use std::collections::HashSet;

use crate::domain::cost;

/// The most parts of one form.
const PARTS_MAX: usize = 64;

/// The longest boundary (RFC 2046 section 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// Name and value of each field. A file that was chosen is its content; one that was not is empty.
pub fn parse(content_type: &str, body: &[u8]) -> Option<Vec<(String, String)>> {
    let boundary = boundary(content_type)?;
    let delimiter = format!("\r\n--{boundary}");
    // The first delimiter has no line before it to end.
    let mut rest = body.strip_prefix(delimiter.trim_start().as_bytes())?;
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut names = HashSet::new();
    loop {
        if rest.starts_with(b"--") {
            return Some(fields);
        }
        let part = rest.strip_prefix(b"\r\n")?;
        let end = memchr::memmem::find(part, delimiter.as_bytes())?;
        let (part, after) = part.split_at_checked(end)?;
        rest = after.get(delimiter.len()..)?;
        cost::count(2 * part.len());
        let head_end = memchr::memmem::find(part, b"\r\n\r\n")?;
        let (head, value) = part.split_at_checked(head_end)?;
        let value = std::str::from_utf8(value.get(4..)?).ok()?;
        cost::count(part.len() + head.len());
        let name = name(std::str::from_utf8(head).ok()?)?;
        if value.contains('\0') || name.contains('\0') {
            return None;
        }
        if fields.len() == PARTS_MAX || !names.insert(name.clone()) {
            return None;
        }
        fields.push((name, value.to_owned()));
    }
}

fn boundary(content_type: &str) -> Option<&str> {
    let (_, boundary) = content_type.split_once("boundary=")?;
    let boundary = boundary.split(';').next()?.trim().trim_matches('"');
    let fits = (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len());
    (fits && boundary.bytes().all(|byte| byte.is_ascii_graphic())).then_some(boundary)
}

/// `name` of the part's Content-Disposition.
fn name(head: &str) -> Option<String> {
    let line = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let (kind, parameters) = line.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return None;
    }
    let (_, rest) = parameters.trim_start().split_once("name=\"")?;
    let (name, _) = rest.split_once('"')?;
    (!name.is_empty()).then(|| name.to_owned())
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
    fn what_is_broken_is_refused() {
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
}
