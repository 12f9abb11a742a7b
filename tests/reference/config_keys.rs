//! docs/reference/config.md: every key of the config, its type, its default and its meaning.
//!
//! Keys, types and what is required come from the types that read the file: the test asks them with a key that no
//! struct has, with a value of the wrong type, and without the key. Defaults and meanings come from
//! `config_keys.toml`; a default there is compared with what the loader does without the key. Every key must stand
//! in `config/portcullis.yaml`, at least in a comment, and what stands there in a comment must be readable.

use std::collections::BTreeMap;

use portcullis::config;
use portcullis::config::{Keys, Places, RawFile};
use serde::Deserialize;
use serde_json::{Value, json};

use super::support::scratch::Scratch;
use crate::schema;
use crate::{check_page, opening, root, row, table};

/// A key that no section has.
const NO_KEY: &str = "no_such_key";

/// 32 bytes in base64, for keys that encrypt.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OLD_KEY: &str = "//////////////////////////////////////////8=";

/// Keys of the example that exclude others of it. The example names them in a comment.
const EXCLUSIVE: [&str; 5] = [
    "/policy/file",
    "/policy/control_planes",
    "/policy/state",
    "/policy/join",
    "/policy/ca",
];

/// What a person wrote about a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// In YAML; compared with what the loader takes without the key.
    pub default: Option<String>,
    /// A default that is no constant, in words.
    without: Option<String>,
    pub meaning: String,
}

/// What the types say of a key.
pub struct Key {
    /// With `[]` for each item of a list and `NAME` for a name that the operator chooses.
    pub path: String,
    pub kind: String,
    pub is_required: bool,
    /// Where the section is in the example that this key was found in, and the key's name.
    at: (String, String),
}

/// The example with every key that stands in a comment.
fn example() -> Value {
    let text = std::fs::read_to_string(root().join("config/portcullis.yaml")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut whole = String::new();
    let mut was_key = false;
    for (at, line) in lines.iter().enumerate() {
        let bare = line.trim_start();
        let indent = &line[..line.len() - bare.len()];
        let is_comment = bare.starts_with('#');
        let inside = bare
            .strip_prefix("# ")
            .or(bare.strip_prefix('#'))
            .unwrap_or_default();
        was_key = is_comment
            && (is_key(inside) || was_key && inside.starts_with(' ') && is_key(inside.trim_start()));
        let next = lines.get(at + 1).map_or("", |line| line.trim_start());
        if is_comment {
            if was_key {
                whole += &format!("{indent}{inside}\n");
            }
        } else if let Some(list) = line.strip_suffix(" []")
            && next.trim_start_matches(['#', ' ']).starts_with("- ")
        {
            whole += &format!("{list}\n");
        } else {
            whole += &format!("{line}\n");
        }
    }
    serde_saphyr::from_str(&whole).unwrap_or_else(|error| {
        panic!("config/portcullis.yaml cannot be read with the keys in its comments: {error}\n{whole}")
    })
}

/// Whether a comment is a key that is turned off: `name:`, with or without `- ` and a quote or brace before it.
fn is_key(comment: &str) -> bool {
    let bare = comment
        .trim_start()
        .trim_start_matches("- ")
        .trim_start_matches('{');
    let Some((name, value)) = bare.split_once(':') else {
        return false;
    };
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
    is_name && (value.is_empty() || value.starts_with(' '))
}

/// What the types say of a whole file.
fn complaint(file: &Value) -> String {
    match serde_saphyr::from_str::<RawFile>(&file.to_string()) {
        Ok(_) => String::new(),
        Err(error) => error.without_snippet().to_string(),
    }
}

/// The file with another value under `name` of the section at `at`, or without that name.
fn with(file: &Value, (at, name): (&str, &str), value: Option<Value>) -> Value {
    let mut file = file.clone();
    let section = file.pointer_mut(at).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => section.insert(name.to_owned(), value),
        None => section.remove(name),
    };
    file
}

/// The keys that the section at `at` may have, or none where the operator chooses its names.
fn keys_of_section(file: &Value, at: &str) -> Option<Vec<String>> {
    let said = complaint(&with(file, (at, NO_KEY), Some(json!({}))));
    let (_, list) = said.split_once(&format!("unknown field `{NO_KEY}`, expected "))?;
    let list = list
        .split(" at line")
        .next()
        .unwrap()
        .trim_start_matches("one of ");
    Some(
        list.split(", ")
            .map(|name| name.trim_matches('`').to_owned())
            .collect(),
    )
}

/// The type of a key, from what its reader says of a text.
fn kind_of(file: &Value, at: (&str, &str)) -> String {
    let said_of = |value| complaint(&with(file, at, Some(value)));
    let named = |said: &str| {
        let kinds = [
            ("duration", "duration"),
            ("a size", "size"),
            ("boolean", "`true` or `false`"),
            ("mapping start", "section"),
            ("invalid u", "number"),
            ("invalid f", "number"),
        ];
        let found = kinds.iter().find(|(word, _)| said.contains(word));
        match found {
            _ if said.is_empty() => "text",
            Some((_, kind)) => kind,
            None => panic!("{at:?}: no type is known from `{said}`"),
        }
    };
    let said = said_of(json!("text"));
    if said.contains("sequence start") {
        return match named(&said_of(json!(["text"]))) {
            "section" => "list of sections".to_owned(),
            item => format!("list of {item}s"),
        };
    }
    named(&said).to_owned()
}

struct Walk<'f> {
    file: &'f Value,
    keys: Vec<Key>,
    /// Keys that the example does not have.
    unseen: BTreeMap<String, bool>,
}

impl Walk<'_> {
    fn value(&mut self, at: &str, path: &str) {
        match self.file.pointer(at).unwrap() {
            Value::Object(members) => match keys_of_section(self.file, at) {
                Some(names) => names.iter().for_each(|name| self.key(at, path, name)),
                None => {
                    for name in members.keys() {
                        self.value(&format!("{at}/{name}"), &format!("{path}.NAME"));
                    }
                }
            },
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for number in 0..items.len() {
                    self.value(&format!("{at}/{number}"), &format!("{path}[]"));
                }
            }
            _ => {}
        }
    }

    fn key(&mut self, at: &str, path: &str, name: &str) {
        let dot = if path.is_empty() { "" } else { "." };
        let path = format!("{path}{dot}{name}");
        let inside = format!("{at}/{name}");
        let value = self.file.pointer(&inside);
        let is_seen = self.unseen.entry(path.clone()).or_insert(true);
        *is_seen &= value.is_none();
        if !self.keys.iter().any(|key| key.path == path) {
            let without = complaint(&with(self.file, (at, name), None));
            self.keys.push(Key {
                path: path.clone(),
                kind: kind_of(self.file, (at, name)),
                is_required: without.contains(&format!("missing field `{name}`")),
                at: (at.to_owned(), name.to_owned()),
            });
        }
        if value.is_some() {
            self.value(&inside, &path);
        }
    }
}

/// The notes in `config_keys.toml`, by path.
fn notes() -> BTreeMap<String, Note> {
    let text = std::fs::read_to_string(root().join("tests/reference/config_keys.toml")).unwrap();
    toml::from_str(&text).unwrap_or_else(|error| panic!("tests/reference/config_keys.toml: {error}"))
}

/// The file as the loader takes it: files that it names are there, and nothing comes from the environment.
fn loadable(mut file: Value, dir: &Scratch) -> Value {
    for at in EXCLUSIVE {
        let (section, name) = at.rsplit_once('/').unwrap();
        file = with(&file, (section, name), None);
    }
    let pair = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
    fill(&mut file, &|text| {
        if let Some(path) = text.strip_prefix("file:") {
            std::fs::create_dir_all(dir.join(path).parent().unwrap()).unwrap();
            dir.write(path, OLD_KEY);
            return None;
        }
        let ending = text.rsplit_once('.').map(|(_, ending)| ending);
        match ending {
            _ if text.starts_with("${") => Some(KEY.to_owned()),
            Some("crt" | "pem") => {
                dir.write(text, &pair.cert.pem());
                None
            }
            Some("key") => {
                dir.write(text, &pair.signing_key.serialize_pem());
                None
            }
            _ => None,
        }
    });
    file
}

/// Replaces the texts of a file for which `change` has another one.
fn fill(value: &mut Value, change: &impl Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(other) = change(text) {
                *text = other;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, change)),
        Value::Object(members) => members.values_mut().for_each(|value| fill(value, change)),
        _ => {}
    }
}

/// What the loader makes of a file, as one text.
fn loaded(file: &Value, dir: &Scratch, what: &str) -> String {
    match config::load_text(&dir.join("portcullis.yaml"), &file.to_string()) {
        Ok(mut config) => {
            config.keys = Keys::default();
            config.places = Places::default();
            config.warnings.clear();
            format!("{config:?}")
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

/// Compares a default with what the loader takes without the key.
fn check_default(file: &Value, dir: &Scratch, key: &Key, default: &str) {
    let at = (key.at.0.as_str(), key.at.1.as_str());
    let value: Value = serde_saphyr::from_str(default).unwrap();
    let what = format!("tests/reference/config_keys.toml: `{}`", key.path);
    let (set, unset) = (with(file, at, Some(value)), with(file, at, None));
    assert!(
        loaded(&set, dir, &what) == loaded(&unset, dir, &what),
        "{what}: without the key, the loader takes another default than {default}"
    );
}

#[test]
fn config_page_is_current() {
    let file = example();
    assert_eq!(
        complaint(&file),
        "",
        "config/portcullis.yaml, with the keys in its comments"
    );
    let mut walk = Walk {
        file: &file,
        keys: Vec::new(),
        unseen: BTreeMap::new(),
    };
    walk.value("", "");
    let (keys, unseen) = (walk.keys, walk.unseen);
    let dir = Scratch::new();
    let whole = loadable(file.clone(), &dir);
    let mut notes = notes();
    if keys.iter().all(|key| notes.contains_key(&key.path)) {
        schema::check(&keys, &notes);
    }
    let mut page = opening(
        "Config",
        "Every key of the config file that `portcullis serve --config FILE` and `portcullis check FILE` read. \
         [config/portcullis.yaml](../../config/portcullis.yaml) has each key in its place.\n\n\
         - `NAME` stands for a name of your choice, `[]` for each item of a list.\n\
         - A duration has a unit: `250ms`, `5s`, `10m`, `24h`, `7d`. A size too: `512B`, `32KiB`, `1MiB`, `2GiB`.\n\
         - `${NAME}` in a text is replaced by the value of the environment variable. Paths are relative to the config file.\n\
         - An unknown key and a repeated key are errors.",
    );
    let mut section = "";
    for key in &keys {
        let top = key.path.split(['.', '[']).next().unwrap();
        if top != section {
            section = top;
            page += &format!("{}## {top}\n\n", if page.ends_with("|\n") { "\n" } else { "" });
            page += &table(&["Key", "Type", "Default", "Meaning"]);
        }
        let Some(note) = notes.remove(&key.path) else {
            panic!("describe `{}` in tests/reference/config_keys.toml", key.path);
        };
        let default = match (&note.default, &note.without) {
            (None, None) if key.is_required => "required".to_owned(),
            (None, None) => String::new(),
            (None, Some(words)) => words.clone(),
            (Some(default), None) => {
                check_default(&whole, &dir, key, default);
                format!("`{default}`")
            }
            (Some(_), Some(_)) => panic!("`{}` has two defaults", key.path),
        };
        page += &row(&[&format!("`{}`", key.path), &key.kind, &default, &note.meaning]);
    }
    let gone: Vec<&String> = notes.keys().collect();
    assert!(
        gone.is_empty(),
        "tests/reference/config_keys.toml describes {gone:?}, which no file may have"
    );
    check_page("config.md", &page);
    check_example_has(&unseen);
}

/// A key that is nowhere in the example is at least named in a comment of it.
fn check_example_has(unseen: &BTreeMap<String, bool>) {
    let text = std::fs::read_to_string(root().join("config/portcullis.yaml")).unwrap();
    for (path, _) in unseen.iter().filter(|(_, is_unseen)| **is_unseen) {
        let name = path.rsplit('.').next().unwrap();
        assert!(
            text.contains(&format!("{name}:")),
            "`{path}` is not in config/portcullis.yaml"
        );
    }
}
