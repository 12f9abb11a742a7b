//! Remembers every secret that a test made, so that the output of all tests can be searched for them.

use std::fs;
use std::io::Write as _;
use std::path::Path;

/// Where `tests/secrets_in_output.sh` looks.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-env/secrets");

/// Lines of a PEM file before these hold the public half of an RSA key, too.
const PEM_LINES_PUBLIC: usize = 8;

/// Writes values down, one a line.
pub fn note<'v>(values: impl IntoIterator<Item = &'v str>) {
    let text: String = values.into_iter().map(|value| format!("{value}\n")).collect();
    fs::create_dir_all(FOLDER).unwrap();
    let path = Path::new(FOLDER).join(format!("planes-{}.txt", std::process::id()));
    // One write each, so that lines of concurrent tests do not mix.
    let mut file = fs::File::options().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
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
