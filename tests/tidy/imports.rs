//! Imports between files of the crate, read from their text: `use` trees, paths in code, every form of `super`.
//!
//! Comments, strings and unit tests do not count. A path through a re-export counts as an import of the file that
//! re-exports, and the re-export as an import by that file: a facade that its own folder imports is a cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The files of a crate by their module paths.
pub struct Tree {
    files: BTreeMap<Vec<String>, File>,
}

struct File {
    /// Below `src`, with `/`.
    path: String,
    text: String,
}

/// One import: from a file to a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    pub from: String,
    pub to: String,
}

/// The parts of Rust's text that paths are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Sep,
    Other(char),
}

impl Tree {
    /// Reads every `.rs` file below `src`.
    pub fn read(src: &Path) -> Self {
        let files = super::files_below(src, "rs").into_iter().map(|path| {
            let below = path
                .strip_prefix(src)
                .unwrap()
                .to_string_lossy()
                .replace('\\', "/");
            (below, std::fs::read_to_string(&path).unwrap())
        });
        Self::of(files)
    }

    /// A tree of these files: path below `src` and text.
    pub fn of(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let files = files
            .into_iter()
            .map(|(path, text)| (module_path(&path), File { path, text }));
        Self {
            files: files.filter(|(_, file)| file.path != "main.rs").collect(),
        }
    }

    /// All imports, each once.
    pub fn imports(&self) -> BTreeSet<Import> {
        let mut found = BTreeSet::new();
        for (module, file) in &self.files {
            for path in paths_in(&file.text) {
                let Some(target) = self.resolve(module, &path) else {
                    continue;
                };
                if target.path != file.path {
                    found.insert(Import {
                        from: file.path.clone(),
                        to: target.path.clone(),
                    });
                }
            }
        }
        found
    }

    /// The file that a path leads to, if it is in this crate.
    fn resolve(&self, module: &[String], path: &Written) -> Option<&File> {
        let mut here: Vec<String> = module.iter().chain(&path.inside).cloned().collect();
        let mut rest = path.words.as_slice();
        match rest.first()?.as_str() {
            "crate" => {
                here.clear();
                rest = rest.get(1..)?;
            }
            "self" => rest = rest.get(1..)?,
            "super" => {
                while rest.first().is_some_and(|word| word == "super") {
                    here.pop()?;
                    rest = rest.get(1..)?;
                }
            }
            child => {
                here.push(child.to_owned());
                let known = self.files.contains_key(&here);
                here.pop();
                if !known {
                    return None;
                }
            }
        }
        here.extend(rest.iter().cloned());
        loop {
            if let Some(file) = self.files.get(&here) {
                return Some(file);
            }
            here.pop()?;
        }
    }
}

/// The groups of files that import each other in a circle, each sorted.
pub fn cycles(imports: &BTreeSet<Import>) -> Vec<Vec<String>> {
    let mut onward: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for import in imports {
        onward.entry(&import.from).or_default().insert(&import.to);
    }
    let reached = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut next = vec![from];
        while let Some(file) = next.pop() {
            for to in onward.get(file).into_iter().flatten() {
                if seen.insert(*to) {
                    next.push(to);
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<&str>> = onward.keys().map(|file| (*file, reached(file))).collect();
    let mut groups = BTreeSet::new();
    for (file, seen) in &reach {
        if seen.contains(file) {
            let back = |other: &&str| reach.get(*other).is_some_and(|seen| seen.contains(file));
            groups.insert(
                seen.iter()
                    .copied()
                    .filter(back)
                    .map(str::to_owned)
                    .collect::<Vec<_>>(),
            );
        }
    }
    groups.into_iter().collect()
}

fn module_path(path: &str) -> Vec<String> {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    if stem == "lib" || stem == "main" {
        return Vec::new();
    }
    stem.split('/').map(str::to_owned).collect()
}

/// A path as it is written, and the inline modules that it is written in.
#[derive(Debug, PartialEq, Eq)]
struct Written {
    inside: Vec<String>,
    words: Vec<String>,
}

fn paths_in(text: &str) -> Vec<Written> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let tokens = tokens(code);
    let mut found = Vec::new();
    // The inline modules that are open, each with the depth of its brace.
    let (mut inside, mut depth): (Vec<(String, usize)>, usize) = (Vec::new(), 0);
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let names = |found: &mut Vec<Written>, words: Vec<String>| {
            let inside = inside.iter().map(|(name, _)| name.clone()).collect();
            found.push(Written { inside, words });
        };
        match token {
            Token::Other('{') => depth += 1,
            Token::Other('}') => {
                depth = depth.saturating_sub(1);
                if inside.last().is_some_and(|(_, opened)| *opened == depth) {
                    inside.pop();
                }
            }
            Token::Word(word) if word == "mod" => {
                if let (Some(Token::Word(name)), Some(Token::Other('{'))) =
                    (tokens.get(at + 1), tokens.get(at + 2))
                {
                    inside.push((name.clone(), depth));
                }
            }
            Token::Word(word) if word == "use" => {
                let mut leaves = Vec::new();
                at = use_tree(&tokens, at + 1, &[], &mut leaves);
                leaves.into_iter().for_each(|words| names(&mut found, words));
                continue;
            }
            Token::Word(word)
                if tokens.get(at + 1) == Some(&Token::Sep)
                    && (at == 0 || !matches!(tokens.get(at - 1), Some(Token::Sep | Token::Other('.')))) =>
            {
                let mut words = vec![word.clone()];
                while let (Some(Token::Sep), Some(Token::Word(next))) =
                    (tokens.get(at + 1), tokens.get(at + 2))
                {
                    words.push(next.clone());
                    at += 2;
                }
                names(&mut found, words);
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Reads one tree of a `use` from `at` on, adds its leaves, and answers where it ends.
fn use_tree(tokens: &[Token], mut at: usize, prefix: &[String], leaves: &mut Vec<Vec<String>>) -> usize {
    let mut words = prefix.to_vec();
    loop {
        match tokens.get(at) {
            Some(Token::Word(word)) if word == "as" => at += 2,
            Some(Token::Word(word)) => {
                words.push(word.clone());
                at += 1;
            }
            Some(Token::Sep) => at += 1,
            Some(Token::Other('{')) => {
                at += 1;
                while !matches!(tokens.get(at), None | Some(Token::Other('}'))) {
                    at = use_tree(tokens, at, &words, leaves);
                    if tokens.get(at) == Some(&Token::Other(',')) {
                        at += 1;
                    }
                }
                return at + 1;
            }
            Some(Token::Other('*')) => at += 1,
            _ => break,
        }
    }
    if words.last().is_some_and(|word| word == "self") && words.len() > 1 {
        words.pop();
    }
    if words.len() > prefix.len() {
        leaves.push(words);
    }
    at
}

/// The tokens of a text without its comments, strings and characters.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        match c {
            '/' if next == Some('/') => at = end_of_line(&chars, at),
            '"' => at = end_of_string(&chars, at + 1),
            'r' | 'b' if starts_raw(&chars, at) => {
                let hashes = chars[at..]
                    .iter()
                    .skip_while(|c| "br".contains(**c))
                    .take_while(|c| **c == '#')
                    .count();
                let quote = chars[at..].iter().position(|c| *c == '"').unwrap_or(0);
                at = end_of_raw(&chars, at + quote + 1, hashes);
            }
            '\'' if chars.get(at + 2) == Some(&'\'') => at += 3,
            '\'' if next == Some('\\') => {
                let end = chars[at + 3..].iter().position(|c| *c == '\'');
                at += 4 + end.unwrap_or(0);
            }
            ':' if next == Some(':') => {
                found.push(Token::Sep);
                at += 2;
            }
            c if c.is_alphanumeric() || c == '_' => {
                let word: String = chars[at..]
                    .iter()
                    .take_while(|c| c.is_alphanumeric() || **c == '_')
                    .collect();
                at += word.chars().count();
                found.push(Token::Word(word));
            }
            c if c.is_whitespace() => at += 1,
            c => {
                found.push(Token::Other(c));
                at += 1;
            }
        }
    }
    found
}

fn end_of_line(chars: &[char], from: usize) -> usize {
    let length = chars[from..].iter().position(|c| *c == '\n');
    length.map_or(chars.len(), |length| from + length)
}

fn end_of_string(chars: &[char], mut at: usize) -> usize {
    while let Some(c) = chars.get(at) {
        match c {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// Whether a raw string begins here, as `r"`, `r#"` or `br"` do, and not a word with these letters.
fn starts_raw(chars: &[char], at: usize) -> bool {
    if at > 0
        && chars
            .get(at - 1)
            .is_some_and(|c| c.is_alphanumeric() || *c == '_')
    {
        return false;
    }
    let rest: String = chars[at..].iter().take(40).collect();
    let rest = rest.strip_prefix('b').unwrap_or(&rest);
    rest.strip_prefix('r')
        .is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
}

fn end_of_raw(chars: &[char], mut at: usize, hashes: usize) -> usize {
    while let Some(c) = chars.get(at) {
        at += 1;
        if *c == '"' && chars[at..].iter().take(hashes).filter(|c| **c == '#').count() == hashes {
            return at + hashes;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        let found = Tree::of(files).imports();
        found.into_iter().map(|import| (import.from, import.to)).collect()
    }

    #[test]
    fn every_form_of_a_path_is_an_import() {
        for line in [
            "use crate::a::b::Item;",
            "use crate::{a::{b::{self, Item}}, c};",
            "use super::super::a::b;",
            "use super::super::a::{\n    b as other,\n};",
            "fn f(_: &crate::a::b::Item) {}",
            "mod inner {\n use super::super::super::a::b::Item;\n}",
            "pub use crate::a::b::*;",
            "fn f() -> Item {\n    crate::a::b::make()\n}",
        ] {
            let found = imports(&[("a/b.rs", ""), ("c/d.rs", line)]);
            assert!(
                found.contains(&("c/d.rs".to_owned(), "a/b.rs".to_owned())),
                "{line}: {found:?}"
            );
        }
    }

    #[test]
    fn comments_strings_and_unit_tests_import_nothing() {
        for text in [
            "// use crate::a::b;",
            "const A: &str = \"crate::a::b\";",
            "const A: &str = r#\"use crate::a::b;\"#;",
            "#[cfg(test)]\nmod tests {\n    use crate::a::b;\n}",
        ] {
            assert_eq!(imports(&[("a/b.rs", ""), ("c/d.rs", text)]), [], "{text}");
        }
    }

    #[test]
    fn a_folder_that_imports_its_own_facade_is_a_cycle() {
        let files = [
            ("a/mod.rs", "mod b;\npub use b::Item;\npub struct Other;"),
            ("a/b.rs", "use super::Other;"),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
        assert_eq!(cycles(&Tree::of(files).imports()), [["a/b.rs", "a/mod.rs"]]);
    }
}
