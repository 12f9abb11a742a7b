//! What keeps the source tidy: who may import whom, who may cause which effect, how long a file gets,
//! and that names promised to users stay.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail by panicking"
)]

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use imports::{Import, Tree};
use portcullis::domain::decision::DenyReason;

/// The most lines of a source file before its tests.
const LINES_MAX: usize = 500;

/// What each module may import of this crate. A module imports itself freely.
const MAY_IMPORT: [(&str, &[&str]); 24] = [
    ("domain", &[]),
    ("model", &["domain", "report"]),
    ("store_location", &[]),
    ("snapshot", &["domain"]),
    ("report", &[]),
    ("fleet", &["domain", "report", "snapshot"]),
    ("feed", &["report", "snapshot"]),
    ("clock", &["domain"]),
    ("connections", &["clock", "domain"]),
    ("tls", &["clock", "config", "domain", "pem_file"]),
    ("http_server", &["clock", "connections", "domain", "tls"]),
    ("telemetry", &["connections", "http_server", "tls"]),
    ("task_monitor", &["config"]),
    ("http_client", &["domain"]),
    ("discovery", &["http_client"]),
    ("fetched", &["clock"]),
    ("json_problem", &[]),
    ("pem_file", &[]),
    ("key_sets", &["domain", "json_problem", "snapshot"]),
    ("config", &["domain", "pem_file", "snapshot", "store_location"]),
    (
        "store",
        &["clock", "domain", "fleet", "model", "report", "store_location"],
    ),
    (
        "gateway",
        &[
            "clock",
            "config",
            "connections",
            "domain",
            "discovery",
            "feed",
            "fetched",
            "fleet",
            "http_client",
            "key_sets",
            "pem_file",
            "report",
            "snapshot",
            "telemetry",
            "task_monitor",
            "tls",
        ],
    ),
    (
        "control",
        &[
            "model",
            "clock",
            "config",
            "connections",
            "discovery",
            "domain",
            "feed",
            "fetched",
            "fleet",
            "http_client",
            "http_server",
            "json_problem",
            "key_sets",
            "report",
            "snapshot",
            "store",
            "store_location",
            "telemetry",
            "tls",
        ],
    ),
    (
        "cli",
        &[
            "model",
            "clock",
            "config",
            "connections",
            "control",
            "domain",
            "feed",
            "gateway",
            "http_client",
            "http_server",
            "json_problem",
            "pem_file",
            "snapshot",
            "store",
            "store_location",
            "telemetry",
            "task_monitor",
            "tls",
        ],
    ),
];

/// One owner for each effect: the words that cause it, and who may write them.
const OWNERS: [(&str, &[&str], &[&str]); 6] = [
    (
        "the time",
        &[
            "SystemTime::now",
            "Instant::now",
            "Timestamp::now",
            "Zoned::now",
            "clock_gettime",
        ],
        &["clock.rs"],
    ),
    (
        "the environment",
        &["env::var", "env::set_var"],
        &["config/", "telemetry.rs"],
    ),
    // The log names the library whose records it leaves out.
    ("SQL", &["sqlx"], &["store/", "telemetry/log.rs"]),
    ("Pingora", &["pingora"], &["gateway/", "cli/", "telemetry.rs"]),
    (
        "the web framework",
        &["axum"],
        &["control/", "cli/", "telemetry.rs"],
    ),
    (
        "the standard output",
        &["println!", "print!"],
        &["cli/", "main.rs"],
    ),
];

struct SourceFile {
    /// Below `src`, with `/`.
    path: String,
    text: String,
}

impl SourceFile {
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// The lines before the tests, without comments, each with its number.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .take_while(|line| *line != "#[cfg(test)]")
            .enumerate()
            .map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default()))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path, ending));
        } else if path.extension().is_some_and(|held| held == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<SourceFile> {
    let src = root().join("src");
    files_below(&src, "rs")
        .into_iter()
        .map(|path| SourceFile {
            path: path
                .strip_prefix(&src)
                .unwrap()
                .to_string_lossy()
                .replace('\\', "/"),
            text: std::fs::read_to_string(&path).unwrap(),
        })
        .collect()
}

fn assert_none(offences: &[String]) {
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

/// Who stands on which floor inside a plane: a file imports from its own floor or from one below it, never upwards.
/// A folder stands for all that is in it unless a file in it is named, too.
const FLOORS: [(&str, &[&[&str]]); 2] = [
    (
        "gateway",
        &[
            &["wire"],
            &["read"],
            &["state"],
            &["observe"],
            &["forward"],
            &["link"],
            &["explain"],
            &["serve"],
            &["start_error.rs"],
            &["listen"],
            &["build.rs"],
            &["offline.rs"],
            &["probe.rs"],
            &["server.rs"],
            &["mod.rs"],
        ],
    ),
    (
        "control",
        &[
            &[
                "fair_queue.rs",
                "open_error.rs",
                "actor.rs",
                "audit_event.rs",
                "bad_request.rs",
                "client_address.rs",
                "conflict.rs",
                "error.rs",
                "form.rs",
                "ids.rs",
                "input.rs",
                "limiter.rs",
                "rate_limits.rs",
                "rate_limits",
                "settings.rs",
            ],
            &[
                "http/body.rs",
                "http/connections.rs",
                "http/cookies.rs",
                "http/memory.rs",
                "http/observed.rs",
            ],
            &["changes.rs", "changes", "idempotency.rs"],
            &["usage.rs"],
            &["accounts/account.rs", "accounts/hashing.rs", "accounts/secret.rs"],
            &["workspaces"],
            &["accounts"],
            &["apps"],
            &["sources"],
            &["signing_keys"],
            &["tokens"],
            &["audit"],
            &["fleet"],
            &["people.rs"],
            &["plane.rs"],
            &["http/problem.rs", "http/state.rs"],
            &["http/session_cookies.rs"],
            &["http/oauth", "http/leak_reports.rs", "http/login.rs"],
            &["http/api"],
            &["http/console"],
            &["http/metered.rs", "http/routes.rs"],
            &["http/edges"],
            &["http/server.rs"],
            &["http/mod.rs"],
            &["mod.rs"],
        ],
    ),
];

/// The most files that a folder of a plane holds directly.
const FILES_MAX: usize = 20;

fn imports() -> BTreeSet<Import> {
    Tree::read(&root().join("src")).imports()
}

#[test]
fn modules_import_only_what_lies_below_them() {
    let module = |path: &str| {
        let first = path.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first).to_owned()
    };
    let mut offences = BTreeSet::new();
    for Import { from, to } in imports() {
        let (importer, imported) = (module(&from), module(&to));
        if ["lib", "main"].contains(&importer.as_str()) || importer == imported {
            continue;
        }
        let rule = MAY_IMPORT.iter().find(|(name, _)| *name == importer);
        let (_, allowed) = rule.unwrap_or_else(|| panic!("say in {} what `{importer}` may import", file!()));
        if !allowed.contains(&imported.as_str()) {
            offences.insert(format!(
                "src/{from} imports src/{to}: `{importer}` may not import `{imported}`"
            ));
        }
    }
    assert_none(&offences.into_iter().collect::<Vec<_>>());
}

#[test]
fn no_files_import_each_other_in_a_cycle() {
    let cycles = imports::cycles(&imports());
    assert_none(&cycles.iter().map(|files| files.join(" <-> ")).collect::<Vec<_>>());
}

#[test]
fn imports_inside_a_plane_never_run_upwards() {
    let mut offences = Vec::new();
    for (plane, floors) in FLOORS {
        let floor = |path: &str| {
            let inside = path.strip_prefix(plane)?.strip_prefix('/')?;
            let holds = |name: &&str| {
                inside == *name
                    || inside
                        .strip_prefix(*name)
                        .is_some_and(|rest| rest.starts_with('/'))
            };
            let found = floors.iter().position(|names| names.iter().any(&holds));
            Some(found.unwrap_or_else(|| panic!("say in {} on which floor src/{path} stands", file!())))
        };
        for Import { from, to } in imports() {
            if let (Some(importer), Some(imported)) = (floor(&from), floor(&to))
                && importer < imported
            {
                offences.push(format!("src/{from} imports src/{to}, which stands above it"));
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn no_folder_of_a_plane_holds_too_many_files() {
    let mut folders: BTreeMap<String, usize> = BTreeMap::new();
    for file in sources() {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if folder.starts_with("gateway") || folder.starts_with("control") {
            *folders.entry(folder.to_owned()).or_default() += 1;
        }
    }
    let crowded = folders.iter().filter(|(_, files)| **files > FILES_MAX);
    assert_none(
        &crowded
            .map(|(folder, files)| format!("src/{folder} holds {files} files"))
            .collect::<Vec<_>>(),
    );
}

/// Who may begin a write of the control plane: `Changes`, and the key ring while there is no `Changes` yet.
const WRITERS: [&str; 2] = ["control/changes.rs", "control/signing_keys/key_ring.rs"];

#[test]
fn only_changes_begins_a_write() {
    let mut offences = Vec::new();
    for file in sources()
        .iter()
        .filter(|file| file.module() == "control" && !WRITERS.contains(&file.path.as_str()))
    {
        for (at, line) in file.code() {
            if line.contains("store.write()")
                || line.contains("store.begin_audit()")
                || line.contains("store.note()")
            {
                offences.push(format!(
                    "src/{}:{at}: begin a change through `Changes`",
                    file.path
                ));
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn each_effect_has_one_owner() {
    let mut offences = Vec::new();
    for file in sources() {
        for (effect, words, owners) in OWNERS {
            if owners.iter().any(|owner| file.path.starts_with(owner)) {
                continue;
            }
            for (at, line) in file.code() {
                if words.iter().any(|word| line.contains(word)) {
                    offences.push(format!("src/{}:{at}: {effect} belongs to {owners:?}", file.path));
                }
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn no_type_of_the_domain_is_serialisable() {
    let mut offences = Vec::new();
    for file in sources().iter().filter(|file| file.module() == "domain") {
        for (at, line) in file.code() {
            let derives =
                line.contains("derive(") && (line.contains("Serialize") || line.contains("Deserialize"));
            if derives || line.contains("impl Serialize") {
                offences.push(format!(
                    "src/{}:{at}: wire forms live in snapshot and at the edges",
                    file.path
                ));
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn every_file_says_what_it_is() {
    let mut offences = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for path in files_below(&root().join(folder), "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            if !text.starts_with("//! ") {
                offences.push(format!("{} does not begin with `//! `", path.display()));
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn schema_steps_are_numbered_one_after_the_other() {
    let files = files_below(&root().join("src/store/migrations"), "sql");
    let names = files
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy());
    let numbers: Vec<usize> = names
        .map(|name| name.split('_').next().unwrap().parse().unwrap())
        .collect();
    let wanted: Vec<usize> = (1..=files.len()).collect();
    assert_eq!(numbers, wanted, "take the next free number");
}

#[test]
fn no_file_is_too_long_to_read() {
    let mut offences = Vec::new();
    for file in sources() {
        let lines = file.code().count();
        if lines > LINES_MAX {
            offences.push(format!("src/{}: {lines} lines before its tests", file.path));
        }
    }
    assert_none(&offences);
}

#[test]
fn deny_reasons_are_those_promised_to_users() {
    /// Dashboards and clients match on these words. They may grow in number, never change.
    const PROMISED: &str = "token_missing token_malformed token_signature_invalid token_key_unknown \
        token_issuer_untrusted token_audience_mismatch token_expired token_not_yet_valid \
        token_revoked token_type_wrong app_unknown app_not_connected scope_insufficient source_unknown \
        source_ambiguous source_missing body_invalid body_too_large \
        body_encoding_unsupported credentials_conflict path_invalid request_malformed headers_too_large \
        rate_limited policy_stale policy_unavailable \
        keys_unavailable overloaded upstream_unavailable upstream_timeout request_timeout proof_missing";
    let words: Vec<&str> = DenyReason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(words, PROMISED.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn example_configs_load() {
    let folder = root().join("config");
    if !folder.is_dir() {
        return;
    }
    for path in files_below(&folder, "yaml") {
        let name = path.file_name().unwrap().to_string_lossy();
        if name.contains("policy") {
            // Read together with the config that names it.
            continue;
        }
        if let Err(error) = portcullis::config::load(&path) {
            panic!("{error}");
        }
    }
}
