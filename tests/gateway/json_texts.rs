//! JSONTestSuite's texts (`tests/vectors/jsontestsuite`) and our own through the body scanner, and through it
//! Python's and Node's parsers: a body that is let through names the same source to all of them.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis::domain::ids::WriteKeyDigest;
use portcullis::gateway::read::json::scan::{BodyKeys, scan};
use portcullis::gateway::read::json::scan_error::ScanError;
use serde_json::Value;

fn files_of(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(path).unwrap())
        })
        .filter(|(name, _)| name != "LICENSE")
        .collect();
    files.sort();
    files
}

fn suite() -> Vec<(String, Vec<u8>)> {
    let texts = files_of("tests/vectors/jsontestsuite");
    assert_eq!(texts.len(), 338);
    texts
}

/// A text at the places of a body where a parser could trip over it.
fn inside_bodies(text: &[u8]) -> [Vec<u8>; 3] {
    [
        [b"{\"x\":", text, b",\"writeKey\":\"k\"}"].concat(),
        [b"{\"batch\":[", text, b"],\"writeKey\":\"k\"}"].concat(),
        [
            b"{\"writeKey\":\"k\",\"batch\":[{\"writeKey\":\"k\",\"x\":",
            text,
            b"}]}",
        ]
        .concat(),
    ]
}

#[test]
fn texts_that_are_no_json_are_refused_alone_and_inside_a_body() {
    for (name, text) in suite().iter().filter(|(name, _)| name.starts_with("n_")) {
        assert_eq!(scan(text), Err(ScanError::Invalid), "{name}");
        // Nothing at all is an empty array when brackets stand around it.
        for body in inside_bodies(text)
            .iter()
            .filter(|_| !text.trim_ascii().is_empty())
        {
            assert_eq!(scan(body), Err(ScanError::Invalid), "{name} inside a body");
        }
    }
}

/// Alone they must be an object, since anything else has no write key.
#[test]
fn json_texts_are_accepted_as_an_object_or_inside_one() {
    let key = Some(WriteKeyDigest::of(b"k"));
    for (name, text) in suite().iter().filter(|(name, _)| name.starts_with("y_")) {
        let is_object = text.trim_ascii_start().starts_with(b"{");
        let expected = is_object.then(BodyKeys::default).ok_or(ScanError::Invalid);
        assert_eq!(scan(text), expected, "{name}");
        for body in inside_bodies(text) {
            assert_eq!(scan(&body).map(|keys| keys.top), Ok(key), "{name} inside a body");
        }
    }
}

/// What a parser may take or leave is taken only where it cannot hide a key.
#[test]
fn texts_that_parsers_disagree_about_are_refused_as_keys() {
    for (body, expected) in [
        (r#"{"a":"\ud800"}"#, Ok(())),
        (r#"{"batch":[{"a":{"\ud800":1}}]}"#, Ok(())),
        (r#"{"\ud800":1}"#, Err(())),
        (r#"{"batch":[{"\udfaa":1}]}"#, Err(())),
        (r#"{"writeKey":"\ud83d"}"#, Err(())),
        (r#"{"writeKey":"\ud83d\ude00"}"#, Err(())),
        (r#"{"writeKey":"k\u0000"}"#, Err(())),
        (r#"{"writeKey":" k"}"#, Err(())),
        (r#"{"writeKey":"\u006b"}"#, Ok(())),
    ] {
        assert_eq!(scan(body.as_bytes()).map(drop).map_err(drop), expected, "{body}");
    }
}

/// What another language reads in each text.
fn read_by(program: &str, script: &str, texts: &[Vec<u8>]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/gateway/readers")
        .join(script);
    let mut reader = Command::new(program)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}, which the tests of the SDKs need, too: {error}"));
    let lines: String = texts.iter().map(|text| STANDARD.encode(text) + "\n").collect();
    let mut input = reader.stdin.take().unwrap();
    let writing = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let output = reader.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success(), "{program}");
    let read: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(read.len(), texts.len());
    read
}

fn digest(key: &Value) -> Option<WriteKeyDigest> {
    key.as_str().map(|key| WriteKeyDigest::of(key.as_bytes()))
}

/// Go has no place in the tools of this project; that its parser folds letter case is told by `every`.
#[test]
fn python_and_node_find_the_keys_that_the_scanner_finds() {
    let mut texts = Vec::new();
    for (_, text) in suite().into_iter().chain(files_of("fuzz/corpus/scan")) {
        texts.extend(inside_bodies(&text));
        texts.push(text);
    }
    let (accepted, found): (Vec<_>, Vec<_>) = texts
        .into_iter()
        .filter_map(|text| scan(&text).ok().map(|keys| (text, keys)))
        .unzip();
    assert!(accepted.len() > 300, "{}", accepted.len());
    for (program, script) in [("python3", "keys.py"), ("node", "keys.mjs")] {
        let read = read_by(program, script, &accepted);
        for ((text, keys), theirs) in accepted.iter().zip(&found).zip(&read) {
            let shown = String::from_utf8_lossy(text);
            assert!(!theirs.is_null(), "{program} refuses {shown}");
            assert_eq!(digest(&theirs["top"]), keys.top, "{program}: {shown}");
            for key in theirs["events"].as_array().unwrap() {
                assert_eq!(digest(key), keys.events, "{program}: {shown}");
            }
            let Some(every) = theirs.get("every") else {
                continue;
            };
            for (keys, only) in [(&every[0], keys.top), (&every[1], keys.events)] {
                let keys = keys.as_array().unwrap();
                assert!(keys.iter().all(|key| digest(key) == only), "{program}: {shown}");
            }
        }
    }
}
