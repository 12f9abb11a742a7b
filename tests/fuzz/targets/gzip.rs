//! Compressed bodies: bounded in size and ratio, and one reading with every decoder.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use portcullis::config::Limits;
use portcullis::gateway::read::body::{Held, HeldBytes};
use portcullis::gateway::read::body_keys::write_keys;
use portcullis::gateway::read::json::scan::scan;

use super::common::{in_linear_work, now};

/// So small that the bounds are met.
const BODY_BYTES_MAX: usize = 2_048;

/// The first byte says whether the rest is a gzip file, or becomes one.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    if kind % 2 == 0 {
        check(rest);
    } else {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(u32::from(kind % 10)));
        encoder.write_all(rest).unwrap();
        check(&encoder.finish().unwrap());
    }
}

fn check(gzip: &[u8]) {
    let limits = Limits {
        body_bytes: BODY_BYTES_MAX,
        ..Limits::default()
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    let room = HeldBytes::new(&limits);
    let held = Held::for_test(Bytes::copy_from_slice(gzip), &room);
    let before = room.now();
    // What comes out is bounded by the limits, not by what goes in.
    let ours = in_linear_work(gzip.len() + 8 * BODY_BYTES_MAX, || {
        now(write_keys(&headers, &held, &limits))
    });
    assert_eq!(room.now(), before, "what was inflated is still counted as held");
    if let Ok(Some(keys)) = ours {
        // A decoder that reads on after the first member must see the same bytes, all within the bounds.
        let mut all = Vec::new();
        let decoder = MultiGzDecoder::new(gzip);
        decoder.take(1 << 20).read_to_end(&mut all).unwrap();
        assert!(all.len() <= 8 * BODY_BYTES_MAX && all.len() <= 200 * gzip.len());
        assert_eq!(scan(&all), Ok(keys));
    }
}
