//! Remembers every secret that a test made, so that the output of all tests can be searched for them.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::Value;

/// Where `tests/secrets_in_output.sh` looks.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-env/secrets");

/// Lines of a PEM file before these hold the public half of an RSA key, too.
const PEM_LINES_PUBLIC: usize = 8;

/// Writes values down, one a line.
pub fn note<'v>(values: impl IntoIterator<Item = &'v str>) {
    let text: String = values.into_iter().map(|value| format!("{value}\n")).collect();
    fs::create_dir_all(FOLDER).unwrap();
    let path = Path::new(FOLDER).join(format!("tests-{}.txt", std::process::id()));
    // One write each, so that lines of concurrent tests do not mix.
    let mut file = fs::File::options().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Members of JSON bodies that hold secrets.
const MEMBERS: [&str; 9] = [
    "access_token",
    "token",
    "secret",
    "write_key",
    "password",
    "current_password",
    "new_password",
    "csrf_token",
    "client_secret",
];

/// Writes down what a JSON body holds in members that are secrets, however deep.
pub fn note_members(body: &Value) {
    let mut found = Vec::new();
    let mut left = vec![body];
    while let Some(value) = left.pop() {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match member.as_str() {
                        Some(text) if MEMBERS.contains(&name.as_str()) => found.push(text),
                        _ => left.push(member),
                    }
                }
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    if !found.is_empty() {
        note(found);
    }
}

/// Writes down the values of cookies, as a `Cookie` or a `Set-Cookie` header has them.
pub fn note_cookies(header: &str) {
    let pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
    // What a Set-Cookie says of a cookie is shorter than any secret.
    note(pairs.map(|(_, value)| value).filter(|value| value.len() >= 40));
}

/// Writes down the lines of a private key that nobody else may see.
pub fn note_private_key(pem: &str) {
    // An RSA key begins with its public half; others are short and begin with the private one.
    let public = if pem.lines().count() > 2 * PEM_LINES_PUBLIC {
        PEM_LINES_PUBLIC
    } else {
        0
    };
    note(
        pem.lines()
            .skip(public)
            .filter(|line| !line.starts_with("-----") && line.len() > 16),
    );
}

/// The lines of a private key's file that nobody else may see.
pub fn lines_of_private_key(path: &Path) -> Vec<String> {
    let pem = fs::read_to_string(path).unwrap();
    pem.lines()
        .skip(PEM_LINES_PUBLIC)
        .filter(|line| !line.starts_with("-----") && line.len() > 16)
        .map(str::to_owned)
        .collect()
}
