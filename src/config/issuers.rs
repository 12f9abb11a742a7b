//! Outside issuers: whose tokens are accepted, in which form, and where their keys come from.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::check::Check;
use super::file;
use super::file::NamesOrNone;
use super::outside_issuer::{JwksUri, KeyOrigin, KeyPlace, OutsideIssuer};
use super::shown::{has_user, shown};
use crate::domain::claim_names::{ClaimNames, NAMES_MAX, Names, Profile};
use crate::domain::ids::Audience;
use crate::domain::key::Algorithm;
use crate::domain::policy::AcceptedTypes;
use crate::snapshot::KeyBounds;

/// The longest name of a claim, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// The values of `jwks_bytes` and `jwks_keys`.
const JWKS_BYTES: RangeInclusive<usize> = 1 << 10..=64 << 20;
const JWKS_KEYS: RangeInclusive<usize> = 1..=65_536;

impl Check<'_> {
    pub(super) fn issuers(&mut self, files: &[file::IssuerFile]) -> Vec<OutsideIssuer> {
        for (at, issuer) in files.iter().enumerate() {
            let mut earlier = files.iter().take(at);
            if earlier.any(|earlier| earlier.issuer.value == issuer.issuer.value) {
                self.problem(
                    issuer.issuer.referenced,
                    "this issuer is configured twice",
                    "keep one of the two",
                );
            }
        }
        let issuers = files.iter().enumerate();
        issuers
            .filter_map(|(at, issuer)| self.issuer(at, issuer))
            .collect()
    }

    fn issuer(&mut self, at: usize, file: &file::IssuerFile) -> Option<OutsideIssuer> {
        let algorithms = self.algorithms(file.algorithms.as_ref());
        let profile = self.profile(file.profile.as_ref());
        let claims = self.claims(profile, &file.claims);
        let audiences = self.audiences(file, &claims);
        let types = self.types(profile, file.typ.as_ref());
        let second = Duration::from_secs(1);
        let leeway = self.in_range(
            file.leeway.as_ref(),
            second * 5,
            |held| held.0,
            (Duration::ZERO, second * 600),
            "0s to 10m",
        );
        let lifetime_max = file.lifetime_max.as_ref().map(|raw| {
            let range = (second, second * 3_660 * 86_400);
            self.in_range(Some(raw), raw.value.0, |held| held.0, range, "1s to 3660d")
        });
        let issuer = self.issuer_name(&file.issuer);
        let keys = self.key_origin(at, file)?;
        Some(OutsideIssuer {
            issuer: issuer?,
            keys,
            key_bounds: self.key_bounds(file),
            algorithms,
            audiences,
            types,
            claims,
            leeway_s: leeway.as_secs(),
            lifetime_max_s: lifetime_max.map(|max| max.as_secs()),
        })
    }

    fn issuer_name(&mut self, raw: &Spanned<String>) -> Option<String> {
        let name = self.text(raw)?;
        if name.is_empty() || name.trim() != name {
            self.problem(
                raw.referenced,
                "the issuer is empty or has a space around it, so no token can name it",
                "write what `iss` is in its tokens, to the letter",
            );
        }
        Some(name)
    }

    fn algorithms(&mut self, list: Option<&Spanned<Vec<Spanned<String>>>>) -> Vec<Algorithm> {
        let Some(list) = list else {
            return vec![Algorithm::Rs256];
        };
        let mut algorithms = Vec::new();
        for name in &list.value {
            let Some(text) = self.text(name) else { continue };
            match Algorithm::parse(&text) {
                // `EdDSA` and `Ed25519` are one.
                Some(algorithm) if algorithms.contains(&algorithm) => {}
                Some(algorithm) => algorithms.push(algorithm),
                None => self.problem(
                    name.referenced,
                    format!("`{}` is not a supported signature algorithm", shown(name)),
                    "use RS256, PS256, ES256 or EdDSA",
                ),
            }
        }
        self.if_empty(
            list,
            "no signature algorithm is listed, so no token would be accepted",
            "list those of the issuer, such as [RS256]",
        );
        algorithms
    }

    fn profile(&mut self, raw: Option<&Spanned<String>>) -> Profile {
        let words = Profile::ALL.map(|profile| (profile.as_str(), profile));
        self.word(raw, &words, Profile::default())
    }

    fn claims(&mut self, profile: Profile, file: &file::ClaimsFile) -> ClaimNames {
        let mut claims = profile.claims();
        if let Some(Some(names)) = self.claim_names(file.app.as_ref(), false) {
            claims.app = names;
        }
        if let Some(names) = self.claim_names(file.scope.as_ref(), true) {
            claims.scope = names;
        }
        if let Some(names) = self.claim_names(file.token_id.as_ref(), true) {
            claims.token_id = names;
        }
        if let Some(names) = self.claim_names(file.audience.as_ref(), false) {
            claims.audience = names;
        }
        claims
    }

    /// The names that a key lists: `Some(None)` for the word `none`, `None` where the key is absent or wrong.
    fn claim_names(
        &mut self,
        raw: Option<&Spanned<NamesOrNone>>,
        may_be_none: bool,
    ) -> Option<Option<Names>> {
        let raw = raw?;
        let names = match &raw.value {
            NamesOrNone::Word(word) if word == "none" && may_be_none => return Some(None),
            NamesOrNone::Word(word) => std::slice::from_ref(word),
            NamesOrNone::Names(names) => names.as_slice(),
        };
        let is_name = |name: &String| {
            (1..=NAME_BYTES_MAX).contains(&name.len())
                && !name.chars().any(char::is_control)
                && name != "none"
        };
        if names.is_empty() || names.len() > NAMES_MAX || !names.iter().all(is_name) {
            let or_none = if may_be_none { ", or the word none" } else { "" };
            self.problem(
                raw.referenced,
                format!("the value is not a list of 1 to {NAMES_MAX} claim names{or_none}"),
                "write the names in the order to try them, such as [azp, client_id]",
            );
            return None;
        }
        Some(Some(Names::of(names)))
    }

    fn audiences(&mut self, file: &file::IssuerFile, claims: &ClaimNames) -> Vec<String> {
        let list = file.audience.as_ref();
        if claims.audience.is_some() && list.is_none_or(|list| list.value.is_empty()) {
            self.problem(
                list.map_or(file.issuer.referenced, |list| list.referenced),
                "no audience is named",
                "name what `aud` must be in its tokens",
            );
        }
        let mut audiences = Vec::new();
        for raw in list.iter().flat_map(|list| &list.value) {
            let Some(text) = self.text(raw) else { continue };
            if let Err(error) = Audience::parse(&text) {
                self.problem(
                    raw.referenced,
                    format!("the audience {error}, so no token could have it"),
                    "write `aud` as it is in the issuer's tokens",
                );
            }
            audiences.push(text);
        }
        audiences
    }

    fn types(&mut self, profile: Profile, list: Option<&Spanned<Vec<Spanned<String>>>>) -> AcceptedTypes {
        let Some(list) = list else {
            return profile.types();
        };
        self.if_empty(
            list,
            "no `typ` is listed, so no token would be accepted",
            "list the types of the issuer's access tokens, such as [at+jwt], or leave the key out",
        );
        let mut types: Vec<String> = list.value.iter().filter_map(|raw| self.text(raw)).collect();
        if types.iter().any(|typ| typ == "*") {
            return AcceptedTypes::Any;
        }
        let listed = types.len();
        types.retain(|typ| typ != "none");
        match types.len() == listed {
            true => AcceptedTypes::Listed(types),
            false => AcceptedTypes::ListedOrNone(types),
        }
    }

    fn key_bounds(&mut self, file: &file::IssuerFile) -> KeyBounds {
        let default = KeyBounds::default();
        let bytes = file
            .jwks_bytes
            .as_ref()
            .map_or(default.bytes, |size| size.value.0);
        let keys = file.jwks_keys.as_ref().map_or(default.keys, |count| count.value);
        if let Some(size) = &file.jwks_bytes
            && !JWKS_BYTES.contains(&bytes)
        {
            self.problem(
                size.referenced,
                "a key set may have 1KiB to 64MiB",
                "write a size such as 1MiB",
            );
        }
        if let Some(count) = &file.jwks_keys
            && !JWKS_KEYS.contains(&keys)
        {
            self.problem(
                count.referenced,
                "1 to 65536 keys of a set may be used",
                "write a number such as 1024",
            );
        }
        KeyBounds { bytes, keys }
    }

    fn key_origin(&mut self, at: usize, file: &file::IssuerFile) -> Option<KeyOrigin> {
        let discovery = file.discovery.as_ref().filter(|discovery| discovery.value);
        match (&file.jwks_uri, &file.jwks_file, discovery) {
            (Some(raw), None, None) => {
                let uri = self.key_uri(raw)?;
                self.fetched_keys(at, file, KeyPlace::Uri(uri))
                    .map(KeyOrigin::Uri)
            }
            (None, None, Some(_)) => {
                self.key_uri(&file.issuer)?;
                self.fetched_keys(at, file, KeyPlace::Discovery)
                    .map(KeyOrigin::Uri)
            }
            (None, Some(path), None) => {
                if let Some(ca) = &file.ca {
                    self.problem(
                        ca.referenced,
                        "`ca` is of no use with `jwks_file`, which is not fetched",
                        "remove it, or write `jwks_uri` or `discovery: true`",
                    );
                }
                self.file_path(path).map(KeyOrigin::File)
            }
            _ => {
                self.problem(
                    file.issuer.referenced,
                    "the issuer needs its keys from one place",
                    "write `jwks_uri: https://...`, `jwks_file: keys.json` or `discovery: true`",
                );
                None
            }
        }
    }

    /// A URL that keys may come from.
    fn key_uri(&mut self, raw: &Spanned<String>) -> Option<http::Uri> {
        let text = self.text(raw)?;
        let uri = text.parse::<http::Uri>().ok().filter(|uri| uri.host().is_some());
        let Some(uri) = uri else {
            self.problem(
                raw.referenced,
                "the value is not an absolute URL",
                "write https://host/path",
            );
            return None;
        };
        if has_user(&uri) {
            self.problem(
                raw.referenced,
                "the URL has a user or a password, which would not be sent",
                "write https://host/path",
            );
            return None;
        }
        let local = uri
            .host()
            .is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
        if !(uri.scheme_str() == Some("https") || uri.scheme_str() == Some("http") && local) {
            self.problem(
                raw.referenced,
                "keys are fetched over https",
                "only loopback may be plain http",
            );
            return None;
        }
        Some(uri)
    }

    fn fetched_keys(&mut self, at: usize, file: &file::IssuerFile, place: KeyPlace) -> Option<JwksUri> {
        let ca = match &file.ca {
            Some(raw) => Some(self.authorities(&format!("issuers[{at}].ca"), raw)?),
            None => None,
        };
        let s = Duration::from_secs;
        let mut time = |raw: &Option<Spanned<file::Duration>>, default, least, most, words| {
            self.in_range(raw.as_ref(), default, |held| held.0, (least, most), words)
        };
        Some(JwksUri {
            place,
            ca,
            refresh: time(&file.refresh, s(300), s(1), s(86_400), "1s to 24h"),
            fetch_timeout: time(
                &file.fetch_timeout,
                s(5),
                Duration::from_millis(10),
                s(60),
                "10ms to 1m",
            ),
            cooldown: time(&file.cooldown, s(30), Duration::ZERO, s(3_600), "0s to 1h"),
            wait: time(&file.wait, s(2), Duration::ZERO, s(60), "0s to 1m"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load_text;

    fn loaded(issuer: &str) -> Result<OutsideIssuer, Vec<String>> {
        let text = format!(
            "version: 1\ncontrol_plane: {{listen: \"127.0.0.1:8081\", store: \"sqlite:x.db\"}}\nissuers:\n  - {issuer}\n"
        );
        match load_text(Path::new("test.yaml"), &text) {
            Ok(mut config) => Ok(config.issuers.remove(0)),
            Err(error) => Err(error.problems.iter().map(ToString::to_string).collect()),
        }
    }

    const BASE: &str = "issuer: \"https://login.test\", discovery: true";

    #[test]
    fn profile_presets_claims_and_types() {
        let default = loaded(&format!("{{{BASE}, audience: [a]}}")).unwrap();
        assert_eq!(default.claims, ClaimNames::default());
        assert_eq!(default.types, AcceptedTypes::Listed(vec!["at+jwt".to_owned()]));
        for profile in Profile::ALL {
            let name = profile.as_str();
            let found = loaded(&format!("{{{BASE}, audience: [a], profile: {name}}}")).unwrap();
            assert_eq!(found.claims, profile.claims(), "{name}");
            assert_eq!(found.types, profile.types(), "{name}");
        }
        let cognito = loaded(&format!("{{{BASE}, profile: cognito}}")).unwrap();
        assert!(cognito.claims.audience.is_none() && cognito.audiences.is_empty());
    }

    #[test]
    fn claims_and_typ_replace_those_of_the_profile() {
        let issuer = loaded(&format!(
            "{{{BASE}, audience: [a], profile: okta, typ: [JWT, none], algorithms: [EdDSA, Ed25519, RS256], \
             claims: {{app: [azp, client_id], scope: none, token_id: uti, audience: [aud, resource]}}}}"
        ))
        .unwrap();
        assert_eq!(issuer.types, AcceptedTypes::ListedOrNone(vec!["JWT".to_owned()]));
        assert_eq!(issuer.claims.app, Names::of(&["azp", "client_id"]));
        assert_eq!(issuer.claims.scope, None);
        assert_eq!(issuer.claims.token_id, Some(Names::of(&["uti"])));
        assert_eq!(issuer.claims.audience, Some(Names::of(&["aud", "resource"])));
        assert_eq!(issuer.algorithms, [Algorithm::EdDsa, Algorithm::Rs256]);
    }

    #[test]
    fn accepted_configs_that_are_hardly_meant_have_a_warning() {
        for (rest, words) in [
            ("audience: [a]", None),
            ("audience: [a], typ: [\"*\"]", Some("accepts ID tokens")),
            ("audience: [a], profile: google", Some("claims: {scope: none}")),
            ("audience: [a], profile: google, claims: {scope: none}", None),
            ("audience: [a], profile: google, claims: {scope: [custom]}", None),
            ("profile: cognito", None),
            (
                "audience: [a], profile: cognito",
                Some("`audience` is not checked"),
            ),
            ("audience: [a], profile: cognito, claims: {audience: [aud]}", None),
        ] {
            let warnings = loaded(&format!("{{{BASE}, {rest}}}")).unwrap().warnings();
            assert_eq!(
                warnings.len(),
                usize::from(words.is_some()),
                "{rest}: {warnings:?}"
            );
            assert!(words.is_none_or(|words| warnings[0].1.contains(words)), "{rest}");
        }
    }

    /// What follows `BASE`, and words of the one problem it has.
    const PROBLEMS: &[(&str, &str)] = &[
        ("", "no audience is named"),
        (", audience: []", "no audience is named"),
        (", audience: [\"a b\"]", "so no token could have it"),
        (", audience: [a], profile: azure", "write `rfc9068` or `auth0`"),
        (", audience: [a], typ: []", "no `typ` is listed"),
        (
            ", audience: [a], algorithms: []",
            "no signature algorithm is listed",
        ),
        (
            ", audience: [a], algorithms: [HS256]",
            "use RS256, PS256, ES256 or EdDSA",
        ),
        (", audience: [a], claims: {app: none}", "1 to 8 claim names"),
        (", audience: [a], claims: {app: []}", "1 to 8 claim names"),
        (", audience: [a], claims: {audience: none}", "1 to 8 claim names"),
        (", audience: [a], claims: {scope: [a, none]}", "or the word none"),
        (", audience: [a], jwks_keys: 0", "1 to 65536 keys"),
        (", audience: [a], jwks_bytes: 1B", "1KiB to 64MiB"),
        (", audience: [a], ca: \"gone.pem\"", "gone.pem cannot be read"),
        (
            ", audience: [a], jwks_uri: \"https://login.test/keys\"",
            "keys from one place",
        ),
    ];

    /// Other issuers, and words of the one problem that each has.
    const PROBLEMS_OF_KEYS: &[(&str, &str)] = &[
        (
            "{issuer: \"https://login.test\", audience: [a]}",
            "`discovery: true`",
        ),
        (
            "{issuer: \"urn:login\", discovery: true, audience: [a]}",
            "over https",
        ),
        (
            "{issuer: \"http://login.test\", discovery: true, audience: [a]}",
            "over https",
        ),
        (
            "{issuer: x, jwks_file: \"keys.json\", ca: \"ca.pem\", audience: [a]}",
            "`ca` is of no use with `jwks_file`",
        ),
    ];

    #[test]
    fn each_problem_of_an_issuer_says_what_to_do() {
        let with_base = PROBLEMS
            .iter()
            .map(|(rest, words)| (format!("{{{BASE}{rest}}}"), *words));
        let of_keys = PROBLEMS_OF_KEYS
            .iter()
            .map(|(issuer, words)| ((*issuer).to_owned(), *words));
        for (issuer, words) in with_base.chain(of_keys) {
            let problems = loaded(&issuer).unwrap_err();
            let [problem] = problems.as_slice() else {
                panic!("{issuer}: {problems:?}");
            };
            assert!(problem.contains(words), "{issuer}: {problem}");
            assert!(problem.starts_with("test.yaml:"), "{problem}");
        }
    }
}
