//! Paths: one that is accepted means the same to a server that decodes it, twice even, and removes dots.

use http::header::HOST;
use pingora_http::RequestHeader;
use portcullis::config::Limits;
use portcullis::gateway::read::head;

use super::common::in_linear_work;

pub fn run(data: &[u8]) {
    let Ok(mut request) = RequestHeader::build("GET", data, None) else {
        return;
    };
    request.insert_header(HOST, "a.test").unwrap();
    let head = in_linear_work(data.len(), || head::head(&request, &Limits::default()));
    let Ok(head) = head else {
        return;
    };
    let target = std::str::from_utf8(request.raw_path()).unwrap();
    let path = target.split('?').next().unwrap();
    assert_eq!(head.path, path, "another path is decided on than is forwarded");
    assert!(path.starts_with('/') && target.is_ascii());
    let once = decoded(path.as_bytes());
    for reading in [path.as_bytes(), &once, &decoded(&once)] {
        assert_plain(reading);
    }
    // Decoding adds no separator: the segments are the same before and after.
    let count = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'/').count();
    assert_eq!(count(path.as_bytes()), count(&once));
    assert_eq!(once, decoded(&once), "decoding twice is another path");
}

/// Nothing that a server could resolve, cut off or split at.
fn assert_plain(path: &[u8]) {
    let segments: Vec<&[u8]> = path[1..].split(|byte| *byte == b'/').collect();
    for (at, segment) in segments.iter().enumerate() {
        assert!(*segment != b"." && *segment != b"..", "a dot segment");
        assert!(
            !segment.is_empty() || at + 1 == segments.len(),
            "an empty segment"
        );
    }
    let odd = |byte: &u8| matches!(byte, b'\\' | b';') || byte.is_ascii_control();
    assert!(!path.iter().any(odd), "a separator to some server");
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < path.len() {
        let digits = path
            .get(at + 1..at + 3)
            .and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if path[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(path[at]);
                at += 1;
            }
        }
    }
    out
}
