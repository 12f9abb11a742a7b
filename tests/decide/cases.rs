//! One file in `cases/` per answer that `decide` gives: what differs from `world.toml`, and what is
//! expected. Tokens are signed for real, and so verified for real.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use portcullis::domain::access_token::VerifiedToken;
use portcullis::domain::decide::decide;
use portcullis::domain::decision::{DenyReason, Mode};
use portcullis::domain::facts::{
    CredentialFact, RequestFacts, RouteFacts, SourceFact, UnknownSources, WithoutToken,
};
use portcullis::domain::ids::WriteKeyDigest;
use portcullis::domain::policy::Policy;
use portcullis::domain::scope::Scope;
use portcullis::domain::time::UnixSeconds;
use serde::Deserialize;
use toml::{Table, Value};

use crate::model::{Answer, World, reason};
use crate::signers::signer;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    now: u64,
    policy: World,
    route: Route,
    request: Request,
    token: Token,
    expect: Option<Expect>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    scope: String,
    unknown_sources: Word,
    without_token: Word,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Deny,
    Forward,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    source: SourceBy,
    write_key: String,
    #[serde(default)]
    unreadable: String,
    credential: Credential,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SourceBy {
    WriteKey,
    Token,
    /// By token, with the write key in another place.
    TokenBesideKey,
    /// By token, with the write key where a token would stand.
    KeyAsCredential,
    Unreadable,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Credential {
    Missing,
    Conflicting,
    Opaque,
    Token,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    signer: String,
    header: serde_json::Value,
    claims: serde_json::Map<String, serde_json::Value>,
    /// Claims to leave out.
    #[serde(default)]
    without: Vec<String>,
    /// Whether one bit of the signature is flipped.
    #[serde(default)]
    tampered: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    deny: Option<String>,
    permit: Option<String>,
    source: Option<String>,
    app: Option<String>,
    would_deny: Option<String>,
}

impl Case {
    fn decide(&self) -> Answer {
        self.with_facts(|policy, facts, now| decide(policy, facts, now).into())
    }

    /// What `look` makes of the policy, the facts and the time of the case.
    pub fn with_facts<T>(&self, look: impl FnOnce(&Policy, &RequestFacts<'_>, UnixSeconds) -> T) -> T {
        let policy = self.policy.policy();
        let scope = Scope::parse(&self.route.scope).unwrap();
        let route = RouteFacts {
            scope: &scope,
            unknown_sources: match self.route.unknown_sources {
                Word::Deny => UnknownSources::Deny,
                Word::Forward => UnknownSources::Forward,
            },
            without_token: match self.route.without_token {
                Word::Deny => WithoutToken::Deny,
                Word::Forward => WithoutToken::Forward,
            },
        };
        let key = WriteKeyDigest::of(self.request.write_key.as_bytes());
        let source = match self.request.source {
            SourceBy::WriteKey => SourceFact::WriteKey(key),
            SourceBy::Token => SourceFact::ByToken,
            SourceBy::TokenBesideKey | SourceBy::KeyAsCredential => SourceFact::ByTokenBeside {
                key,
                is_credential: matches!(self.request.source, SourceBy::KeyAsCredential),
            },
            SourceBy::Unreadable => SourceFact::Unreadable(reason(&self.request.unreadable)),
        };
        let verified = VerifiedToken::verify(&self.token.text(), &policy);
        let credential = match (&self.request.credential, &verified) {
            (Credential::Missing, _) => CredentialFact::Missing,
            (Credential::Conflicting, _) => CredentialFact::Conflicting,
            (Credential::Opaque, _) => CredentialFact::Opaque,
            (Credential::Token, Ok(token)) => CredentialFact::Verified(token),
            (Credential::Token, Err(fault)) => CredentialFact::Faulty(fault),
        };
        let facts = RequestFacts {
            route,
            source,
            credential,
        };
        look(&policy, &facts, UnixSeconds(self.now))
    }
}

impl Token {
    fn text(&self) -> String {
        let mut claims = self.claims.clone();
        claims.retain(|name, _| !self.without.contains(name));
        let mut text = signer(&self.signer).sign(&self.header, &claims.into());
        if self.tampered {
            // The first character of the signature carries six whole bits.
            let at = text.rfind('.').unwrap() + 1;
            let other = if text[at..].starts_with('A') { "B" } else { "A" };
            text.replace_range(at..=at, other);
        }
        text
    }
}

impl Expect {
    fn answer(&self) -> Answer {
        match (&self.deny, &self.permit) {
            (Some(word), None) => Answer::Deny(reason(word)),
            (None, Some(mode)) => Answer::Permit {
                mode: [Mode::Enforced, Mode::Observed, Mode::Unenforced]
                    .into_iter()
                    .find(|known| known.as_str() == mode)
                    .unwrap(),
                source: self.source.clone(),
                app: self.app.clone(),
                would_deny: self.would_deny.as_deref().map(reason),
            },
            _ => panic!("a case expects `deny` or `permit`"),
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decide")
}

fn read(path: &Path) -> Table {
    let text = std::fs::read_to_string(path).unwrap();
    text.parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Puts `over` on top of `under`: tables are joined, anything else replaces.
fn join(under: &mut Table, over: Table) {
    for (name, value) in over {
        match (under.get_mut(&name), value) {
            (Some(Value::Table(under)), Value::Table(over)) => join(under, over),
            (_, value) => {
                under.insert(name, value);
            }
        }
    }
}

fn case(over: Table) -> Case {
    let mut table = read(&folder().join("world.toml"));
    join(&mut table, over);
    Value::Table(table)
        .try_into()
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Every case by its file's name.
pub fn cases() -> Vec<(String, Case)> {
    let mut cases: Vec<(String, Case)> = std::fs::read_dir(folder().join("cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, case(read(&path)))
        })
        .collect();
    cases.sort_by(|(a, _), (b, _)| a.cmp(b));
    cases
}

#[test]
fn every_case_is_decided_as_its_file_says() {
    let mut wrong = Vec::new();
    for (name, case) in cases() {
        let expected = case
            .expect
            .as_ref()
            .expect("a case says what it expects")
            .answer();
        let got = case.decide();
        if got != expected {
            wrong.push(format!("{name}: expected {expected:?}, got {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_reason_of_a_decision_has_a_case_of_its_name() {
    /// Reasons that other parts of the gateway give before or after a decision.
    const NOT_DECIDED: [&str; 11] = [
        "body_encoding_unsupported",
        "headers_too_large",
        "overloaded",
        "path_invalid",
        "policy_unavailable",
        "rate_limited",
        "request_malformed",
        "request_timeout",
        "upstream_timeout",
        "upstream_unavailable",
        "body_too_large",
    ];
    let names: BTreeSet<String> = cases().into_iter().map(|(name, _)| name).collect();
    for reason in DenyReason::ALL {
        let word = reason.as_str();
        assert!(
            names.contains(word) || NOT_DECIDED.contains(&word),
            "cases/{word}.toml is missing"
        );
    }
    for mode in [Mode::Enforced, Mode::Observed, Mode::Unenforced] {
        assert!(names.contains(&format!("permit_{}", mode.as_str())), "{mode:?}");
    }
}

#[test]
fn every_reason_for_an_unreadable_source_is_passed_on() {
    for reason in DenyReason::ALL {
        let over = format!(
            "[request]\nsource = \"unreadable\"\nunreadable = \"{}\"",
            reason.as_str()
        );
        assert_eq!(case(over.parse().unwrap()).decide(), Answer::Deny(*reason));
    }
}
