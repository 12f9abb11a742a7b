//! The pages of docs/reference: each is rendered from the code and compared with the file on disk.
//!
//! `UPDATE_REFERENCE=1 cargo test --test reference` writes the pages. Without the variable, a page that differs
//! from the code fails its test.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may fail by panicking, its helpers too"
)]

use std::path::Path;

mod audit_actions;
mod config_keys;
mod deny_reasons;
mod deploy;
mod metrics;
mod outside_issuers;
mod problem_types;
mod schema;

#[path = "../support"]
mod support {
    pub mod answer;
    #[expect(dead_code, reason = "one process is started here, and stopped")]
    pub mod process;
    pub mod scratch;
    #[expect(dead_code, reason = "one request is sent here")]
    pub mod web;
    pub mod wire;
}

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares a page with the file on disk, or writes the file when `UPDATE_REFERENCE` is set.
#[track_caller]
fn check_page(name: &str, rendered: &str) {
    const HOW: &str = "UPDATE_REFERENCE=1 cargo test --test reference";
    let path = root().join("docs/reference").join(name);
    #[expect(
        clippy::disallowed_methods,
        reason = "whether to write is chosen from outside"
    )]
    let is_update = std::env::var_os("UPDATE_REFERENCE").is_some();
    if is_update {
        std::fs::write(&path, rendered).unwrap();
        return;
    }
    let on_disk = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}; run `{HOW}`", path.display()));
    let differs = rendered
        .lines()
        .zip(on_disk.lines())
        .enumerate()
        .find(|(_, (code, page))| code != page);
    if let Some((at, (code, page))) = differs {
        panic!(
            "docs/reference/{name} is stale at line {}\n  page: {page}\n  code: {code}\nrun `{HOW}`",
            at + 1
        );
    }
    assert!(
        rendered == on_disk,
        "docs/reference/{name} is stale at its end; run `{HOW}`"
    );
}

/// The first lines of a page.
fn opening(title: &str, what: &str) -> String {
    format!(
        "# {title}\n\n<!-- Generated from the code. To update: UPDATE_REFERENCE=1 cargo test --test reference -->\n\n{what}\n\n"
    )
}

/// One row of a table. `|` would end a cell.
fn row(cells: &[&str]) -> String {
    let cells: Vec<String> = cells
        .iter()
        .map(|cell| cell.replace('|', "\\|").replace('\n', " "))
        .collect();
    format!("| {} |\n", cells.join(" | "))
}

/// The first two lines of a table.
fn table(heads: &[&str]) -> String {
    format!("{}|{}\n", row(heads), "---|".repeat(heads.len()))
}

/// The source files, with their text.
fn sources() -> Vec<(String, String)> {
    fn collect(folder: &Path, into: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                into.push((path.display().to_string(), text));
            }
        }
    }
    let mut found = Vec::new();
    collect(&root().join("src"), &mut found);
    found.sort();
    found
}

/// The one source file with this line.
fn source_with(line: &str) -> String {
    let mut files = sources();
    files.retain(|(_, text)| text.contains(line));
    assert_eq!(files.len(), 1, "one file of src has `{line}`");
    files.remove(0).1
}
