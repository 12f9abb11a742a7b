//! From the raw file to a [`Config`]: defaults, references, and every check that a type cannot make.
//!
//! The gateway's section has a file of its own, [`super::gateway`].

use std::path::Path;

use super::check::Check;
use super::file::File;
use super::keys::Keys;
use super::problem::ConfigError;
use super::types::Config;
use super::yaml::document::{CONFIG_BYTES_MAX, Places, document, read};

/// What to do about a text that is no YAML.
const HINT: &str =
    "docs/reference/config.md lists every key; `portcullis schema` lets an editor check the file";

/// Reads and checks a config file.
///
/// # Errors
/// [`ConfigError`] with every problem found, each with its place and a hint.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    load_text(path, &read_text(path)?)
}

/// Reads the text of a config file, 1 MiB at most.
///
/// # Errors
/// [`ConfigError`]: the file is missing, too large, unreadable, or no UTF-8.
pub fn read_text(path: &Path) -> Result<String, ConfigError> {
    read(path, CONFIG_BYTES_MAX)
}

/// Checks the text of a config file. `path` is where it stands: places and relative paths go by it.
///
/// # Errors
/// As [`load`].
pub fn load_text(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let document = document::<File>(path, text, HINT);
    let mut check = Check::after(path, document.problems, document.left_out);
    let Some(file) = document.value else {
        return check.finish::<Config>(None, text).map(|(config, _)| config);
    };
    let keys = serde_saphyr::from_str(text).map(|value| Keys::of(&value));
    let mut config = check.config(&file, keys.unwrap_or_default());
    if let Some(config) = &mut config {
        config.add_own_resource();
        config.keys.add_contents(&check.contents);
        config.places = Places::of(text);
        if check.is_good() {
            check.warnings(config);
        }
    }
    let (mut config, warnings) = check.finish(config, text)?;
    config.warnings = warnings;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::api_types::PathPattern;
    use crate::config::policy_types::PolicyOrigin;
    use crate::config::problem::{Problem, Severity};
    use crate::config::types::ProxyProtocol;
    use crate::domain::key::Algorithm;
    use crate::domain::policy::{AcceptedTypes, WhenStale};

    const GOOD: &str = r#"version: 1
gateway:
  listeners: [{address: "127.0.0.1:8080"}]
  apis:
    tracking:
      hosts: ["*"]
      paths: ["/v1/*"]
      scope: "tracking_api:write"
      identify: [basic, body]
      upstream: tracking
  upstreams:
    tracking: {servers: ["127.0.0.1:8090"]}
  limits: {body_timeout: 30s}
policy: {source: file, file: policy.yaml}
issuers:
  - {issuer: "https://login.test", jwks_uri: "https://login.test/jwks", audience: [gateway]}
"#;

    fn loaded(text: &str) -> Result<Config, ConfigError> {
        load_text(Path::new("conf/test.yaml"), text)
    }

    /// The problems of `GOOD` with one text replaced by another.
    fn problems(from: &str, to: &str) -> Vec<String> {
        assert!(GOOD.contains(from), "{from}");
        let error = loaded(&GOOD.replacen(from, to, 1)).unwrap_err();
        let errors = error
            .problems
            .into_iter()
            .filter(|one| one.severity == Severity::Error);
        let errors = errors.map(|one| Problem { excerpt: None, ..one });
        errors
            .map(|one| one.to_string().replacen(" error:", "", 1))
            .collect()
    }

    #[test]
    fn a_good_config_is_taken_with_its_defaults() {
        let config = loaded(GOOD).unwrap();
        assert_eq!(config.policy, PolicyOrigin::File("conf/policy.yaml".into()));
        assert_eq!(config.freshness.max_age_s, 86_400);
        assert_eq!(config.freshness.when_stale, WhenStale::Deny);
        let gateway = config.gateway.unwrap();
        let [tracking] = gateway.apis.as_slice() else {
            panic!("one API is configured");
        };
        assert_eq!(tracking.paths, [PathPattern::Prefix("/v1/".to_owned()).into()]);
        assert_eq!(
            tracking.unknown_sources,
            crate::domain::facts::UnknownSources::Deny
        );
        assert_eq!(
            (tracking.reauthenticate_status, tracking.forward_token),
            (401, false)
        );
        let [issuer] = config.issuers.as_slice() else {
            panic!("one issuer is configured");
        };
        assert_eq!(issuer.algorithms, [Algorithm::Rs256]);
        assert_eq!(issuer.types, AcceptedTypes::Listed(vec!["at+jwt".to_owned()]));
    }

    #[test]
    fn every_problem_says_where_it_is_and_what_to_do() {
        for (from, to, expected) in [
            (
                "upstream: tracking",
                "upstream: trcking",
                "conf/test.yaml:10:17: apis.tracking.upstream refers to the unknown upstream `trcking`\n  hint: did you mean `tracking`?",
            ),
            (
                "version: 1",
                "version: 2",
                "conf/test.yaml:1:10: this build reads version 1\n  hint: write `version: 1`",
            ),
            (
                "127.0.0.1:8080",
                "127.0.0.1:+8080",
                "conf/test.yaml:3:25: `127.0.0.1:+8080` is not an address\n  hint: write host:port, such as 127.0.0.1:8080, or 0.0.0.0:8080 for every address",
            ),
            (
                "127.0.0.1:8080",
                "127.0.0.1",
                "conf/test.yaml:3:25: `127.0.0.1` is not an address\n  hint: write host:port, such as 127.0.0.1:8080, or 0.0.0.0:8080 for every address",
            ),
            (
                "{address: \"127.0.0.1:8080\"}",
                "{address: \"127.0.0.1:8080\", proxy_protocol: require}",
                "conf/test.yaml:3:59: `proxy_protocol: require` needs `gateway.trusted_proxies`; without it every connection is closed\n  hint: add the addresses of your load balancers, such as trusted_proxies: [192.0.2.0/24]",
            ),
            (
                "{address: \"127.0.0.1:8080\"}",
                "{address: \"127.0.0.1:8080\", proxy_protocol: on}",
                "conf/test.yaml:3:59: `on` is not a choice here\n  hint: write `off` or `require`",
            ),
            (
                "  limits: {body",
                "  public_url: \"https://events.example.com/\"\n  limits: {body",
                "conf/test.yaml:13:15: the public URL is not an absolute URL without user, path and a slash at its end\n  hint: write https://events.example.com",
            ),
            (
                "[basic, body]",
                "[basic, cookie]",
                "conf/test.yaml:9:25: `cookie` is not a place that can name a source\n  \
                 hint: use basic, body, query:NAME, header:NAME, pixel or token",
            ),
            (
                "source: file, file: policy.yaml",
                "source: bundled",
                "conf/test.yaml:14:18: the policy should come from the bundled control plane, and none is configured\n  \
                 hint: add a `control_plane:` section, or write `source: file` or `source: remote`",
            ),
            (
                "https://login.test/jwks",
                "http://login.test/jwks",
                "conf/test.yaml:16:46: keys are fetched over https\n  hint: only loopback may be plain http",
            ),
            (
                "[gateway]",
                "[]",
                "conf/test.yaml:16:83: no audience is named\n  hint: name what `aud` must be in its tokens",
            ),
        ] {
            assert_eq!(problems(from, to), [expected], "{to}");
        }
    }

    #[test]
    fn what_the_reader_refuses_has_its_place_too() {
        for (from, to, place, word) in [
            ("30s", "30", "conf/test.yaml:13:", "duration"),
            ("30s", "soon", "conf/test.yaml:13:", "duration"),
            ("body_timeout", "body_timout", "conf/test.yaml:13:", "body_timout"),
            (
                "version: 1\n",
                "version: 1\nversion: 1\n",
                "conf/test.yaml:2:",
                "version",
            ),
            (
                "      upstream: tracking\n",
                "      upstream: tracking\n      scope: other\n",
                "conf/test.yaml:11:",
                "scope",
            ),
            (
                "version: 1",
                "version: one",
                "conf/test.yaml:1:",
                "a whole number",
            ),
            ("issuers:\n", "issuers: [\n", "conf/test.yaml:", ""),
        ] {
            let found = problems(from, to);
            let [only] = found.as_slice() else {
                panic!("{to}: {found:?}");
            };
            assert!(only.starts_with(place) && only.contains(word), "{to}: {only}");
        }
    }

    #[test]
    fn control_plane_memory_budget_has_a_minimum() {
        let read = |limits: &str| {
            let listen = r#"listen: "127.0.0.1:8081", store: "sqlite:x.db""#;
            loaded(&format!(
                "version: 1\ncontrol_plane: {{{listen}, limits: {limits}}}\n"
            ))
        };
        let held = |limits: &str| {
            let limits = read(limits).unwrap().control_plane.unwrap().limits;
            (limits.held_bytes >> 20, limits.held_bytes_per_client >> 20)
        };
        assert_eq!(held("{}"), (128, 16));
        assert_eq!(held("{held_bytes: 64MiB}"), (64, 8));
        assert_eq!(held("{held_bytes: 16MiB}"), (16, 2));
        assert_eq!(held("{held_bytes_per_client: 128MiB}"), (128, 128));
        for (small, least) in [("{held_bytes: 1MiB}", 16), ("{held_bytes_per_client: 100KiB}", 2)] {
            let error = read(small).unwrap_err().to_string();
            let hint = format!("hint: write {least}MiB or more");
            assert!(error.contains(&hint), "{error}");
        }
    }

    #[test]
    fn proxy_protocol_and_public_url_are_read() {
        let config = loaded(&GOOD.replacen(
            "  listeners: [{address: \"127.0.0.1:8080\"}]",
            "  trusted_proxies: [\"192.0.2.0/24\"]\n  public_url: \"https://events.example.com:8443\"\n  \
             listeners: [{address: \"127.0.0.1:8080\", proxy_protocol: require}, {address: \"[::1]:1\", proxy_protocol: off}]",
            1,
        ));
        let gateway = config.unwrap().gateway.unwrap();
        let modes: Vec<_> = gateway.listeners.iter().map(|one| one.proxy_protocol).collect();
        assert_eq!(modes, [ProxyProtocol::Require, ProxyProtocol::Off]);
        assert_eq!(
            gateway.public_url.as_deref(),
            Some("https://events.example.com:8443")
        );
        for bad in [
            "events.example.com",
            "ftp://a",
            "https://u:p@a",
            "https://a/b",
            "https://a?b",
            "/a",
        ] {
            let text = GOOD.replacen("  limits:", &format!("  public_url: \"{bad}\"\n  limits:"), 1);
            assert!(loaded(&text).is_err(), "{bad}");
        }
    }

    #[test]
    fn several_problems_are_reported_together() {
        let text = GOOD
            .replace("upstream: tracking", "upstream: other")
            .replace("[\"*\"]", "[]");
        assert_eq!(loaded(&text).unwrap_err().problems.len(), 2);
    }

    #[test]
    fn the_environment_fills_what_names_it() {
        // Cargo sets this variable for the tests it runs.
        let config = loaded(&GOOD.replacen("policy.yaml", "\"${CARGO_PKG_NAME}-policy.yaml\"", 1)).unwrap();
        assert_eq!(
            config.policy,
            PolicyOrigin::File("conf/portcullis-policy.yaml".into())
        );
        assert_eq!(
            problems("file: policy.yaml", "file: \"${PORTCULLIS_TEST_UNSET}\""),
            [
                "conf/test.yaml:14:30: the environment has no variable `PORTCULLIS_TEST_UNSET`\n  \
              hint: set the variable for this process, or write the value here"
            ]
        );
        assert_eq!(
            problems("file: policy.yaml", "file: \"${OPEN\""),
            ["conf/test.yaml:14:30: the value has `${` without `}`\n  hint: write ${NAME}"]
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load(Path::new("conf/nowhere.yaml")).unwrap_err().to_string();
        assert!(
            error.starts_with("conf/nowhere.yaml: error: file not found\n  hint: "),
            "{error}"
        );
    }
}
