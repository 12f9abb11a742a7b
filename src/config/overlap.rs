//! Requests that two APIs claim: refused where the config does not say which of them gets a request, or where one
//! would let through what the other is there to enforce.

use std::collections::BTreeMap;

use serde_saphyr::Location;

use super::api_file::ApiPathFile;
use super::api_types::{ApiPath, PathPattern};
use super::check::Check;
use super::file::ApiFile;
use super::types::{Api, Identify, Upstream};
use crate::domain::facts::WithoutToken;

/// The name for every host.
const ANY_HOST: &str = "*";

/// An API, and where its parts stand in the file.
pub(super) struct Placed<'f> {
    pub(super) api: &'f Api,
    pub(super) file: &'f ApiFile,
}

impl Check<'_> {
    /// Checks each pair of APIs.
    pub(super) fn overlaps(&mut self, apis: &[Placed<'_>], upstreams: &BTreeMap<String, Upstream>) {
        for (at, one) in apis.iter().enumerate() {
            for other in apis.iter().skip(at + 1) {
                self.same_claim(one, other);
            }
            self.shared_upstream(one, apis, upstreams);
        }
    }

    /// One host and one path: which of the two names a request would belong to would be an accident. Where another
    /// server takes the paths for one, since it ignores letter case or a slash at the end, a request that is judged
    /// as one API's would be served there as the other's; then hosts that overlap are enough.
    fn same_claim(&mut self, one: &Placed<'_>, other: &Placed<'_>) {
        let paths = one.file.paths.value.iter().flat_map(|path| {
            let others = other.file.paths.value.iter();
            others.map(move |held| (path, held))
        });
        let mut alike = paths.filter(|(path, held)| {
            let (path, held) = (&path.value, &held.value);
            claim(&path.path).eq_ignore_ascii_case(claim(&held.path))
                && methods(path).shares_method_with(&methods(held))
        });
        let same = alike.find_map(|(path, held)| {
            let fits = match path.value.path == held.value.path {
                true => is_same_host,
                false => is_overlapping_host,
            };
            common_host(one.api, other.api, fits).map(|host| (host, path, held))
        });
        let Some((host, path, held)) = same else { return };
        let elsewhere = self.shown_place(path.referenced);
        let (name, other_name) = (&one.api.name, &other.api.name);
        self.problem(
            held.referenced,
            format!(
                "apis.{name} and apis.{other_name} both claim host `{host}` and path `{}`; the other claim is at {elsewhere}",
                held.value.path
            ),
            "give each its own host, path or methods; letter case and a slash at the end do not make another path",
        );
    }

    /// A catch-all that forwards what carries no token, to the servers that enforced events go to: what the
    /// identifying API refuses would pass under any other path.
    fn shared_upstream(
        &mut self,
        open: &Placed<'_>,
        apis: &[Placed<'_>],
        upstreams: &BTreeMap<String, Upstream>,
    ) {
        let forwards = open.api.without_token == WithoutToken::Forward && !is_identifying(open.api);
        let is_catch_all = open
            .api
            .paths
            .iter()
            .any(|path| path.pattern == PathPattern::Prefix("/".to_owned()));
        if !forwards || !is_catch_all || open.file.shares_upstream {
            return;
        }
        let exposed = apis.iter().find(|guarded| {
            is_identifying(guarded.api)
                && common_host(open.api, guarded.api, is_overlapping_host).is_some()
                && shares_server(open.api, guarded.api, upstreams)
        });
        if let (Some(guarded), Some(place)) = (exposed, &open.file.without_token) {
            let (name, other) = (&open.api.name, &guarded.api.name);
            let elsewhere = self.shown_place(guarded.file.upstream.referenced);
            self.problem(
                place.referenced,
                format!(
                    "apis.{name} forwards requests without a token on every path, to the servers of apis.{other} ({elsewhere}) on the same host: events of an enforced source would pass on any path that apis.{other} does not claim"
                ),
                format!("give apis.{name} its own hosts or its own upstream, or accept this with `shares_upstream: true`"),
            );
        }
    }

    fn shown_place(&self, at: Location) -> String {
        format!("{}:{}:{}", self.path.display(), at.line(), at.column())
    }
}

fn is_identifying(api: &Api) -> bool {
    !api.identify.contains(&Identify::Token)
}

fn is_same_host(one: &str, other: &str) -> bool {
    one == other
}

fn is_overlapping_host(one: &str, other: &str) -> bool {
    one == other || one == ANY_HOST || other == ANY_HOST
}

/// The first host of `one` that fits one of `other`.
fn common_host<'a>(one: &'a Api, other: &Api, fits: fn(&str, &str) -> bool) -> Option<&'a String> {
    let mut hosts = one.hosts.iter();
    hosts.find(|host| other.hosts.iter().any(|held| fits(host, held)))
}

/// The methods of a path as they stand in the file.
fn methods(file: &ApiPathFile) -> ApiPath {
    let listed = file.methods.iter().flat_map(|methods| &methods.value);
    ApiPath {
        methods: listed.map(|method| method.value.clone()).collect(),
        ..PathPattern::Exact(file.path.clone()).into()
    }
}

/// What a path stands for to a server that ignores a slash at its end.
fn claim(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some(rest) if !rest.is_empty() => rest,
        _ => path,
    }
}

fn shares_server(one: &Api, other: &Api, upstreams: &BTreeMap<String, Upstream>) -> bool {
    let servers = |api: &Api| upstreams.get(&api.upstream).map(|held| held.servers.iter());
    let is_of_other = |server: &String| {
        let mut held = servers(other).into_iter().flatten();
        held.any(|held| held.eq_ignore_ascii_case(server))
    };
    one.upstream == other.upstream || servers(one).into_iter().flatten().any(is_of_other)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::load::load_text;

    /// The problems of two APIs on upstreams `a` and `b`.
    fn problems(one: &str, two: &str) -> Vec<String> {
        let text = format!(
            r#"version: 1
gateway:
  listeners: [{{address: "127.0.0.1:8080"}}]
  apis:
    enforced: {{scope: s, identify: [basic], {one}}}
    open: {{scope: s, identify: [token], without_token: forward, {two}}}
  upstreams:
    a: {{servers: ["10.0.0.1:80", "A.test:80"]}}
    b: {{servers: ["10.0.0.2:80"]}}
    c: {{servers: ["10.0.0.3:80", "a.TEST:80"]}}
policy: {{source: file, file: policy.yaml}}
issuers:
  - {{issuer: "https://login.test", jwks_uri: "https://login.test/jwks", audience: [gateway]}}
"#
        );
        match load_text(Path::new("test.yaml"), &text) {
            Ok(_) => Vec::new(),
            Err(error) => {
                let problems = error.problems.iter();
                problems
                    .map(|one| one.to_string().replacen(" error:", "", 1))
                    .collect()
            }
        }
    }

    #[test]
    fn two_apis_that_claim_one_host_and_path_are_refused() {
        for (one, two, path) in [
            (
                r#"hosts: ["*"], paths: ["/v1/*"]"#,
                r#"hosts: ["*"], paths: ["/v1/*"]"#,
                "/v1/*",
            ),
            (
                r#"hosts: [x.test], paths: ["/v1/*"]"#,
                r#"hosts: [a.test, X.TEST], paths: ["/a", "/v1/*"]"#,
                "/v1/*",
            ),
            (
                r#"hosts: [x.test], paths: ["/v1/*"]"#,
                r#"hosts: [x.test], paths: ["/V1/*"]"#,
                "/V1/*",
            ),
            (
                r#"hosts: [x.test], paths: ["/v1/t"]"#,
                r#"hosts: [x.test], paths: ["/v1/t/"]"#,
                "/v1/t/",
            ),
            (
                r#"hosts: ["*"], paths: ["/v1/*"]"#,
                r#"hosts: [x.test], paths: ["/V1/*"]"#,
                "/V1/*",
            ),
            (
                r#"hosts: ["*"], paths: ["/"]"#,
                r#"hosts: ["*"], paths: ["/"]"#,
                "/",
            ),
            (
                r#"hosts: ["*"], paths: [{path: "/", methods: [POST]}]"#,
                r#"hosts: ["*"], paths: ["/"]"#,
                "/",
            ),
            (
                r#"hosts: ["*"], paths: [{path: "/a", methods: [GET]}]"#,
                r#"hosts: ["*"], paths: [{path: "/A/", methods: [POST, HEAD]}]"#,
                "/A/",
            ),
        ] {
            let found = problems(&format!("{one}, upstream: a"), &format!("{two}, upstream: b"));
            let [only] = found.as_slice() else {
                panic!("{one} {two}: {found:?}")
            };
            assert!(only.starts_with("test.yaml:6:"), "{only}");
            assert!(
                only.contains("apis.enforced and apis.open both claim host `")
                    && only.contains(&format!("path `{path}`"))
                    && only.contains("the other claim is at test.yaml:5:"),
                "{only}"
            );
        }
    }

    #[test]
    fn apis_that_are_told_apart_are_taken() {
        for (one, two) in [
            (
                r#"hosts: [x.test], paths: ["/v1/*"]"#,
                r#"hosts: [y.test], paths: ["/v1/*"]"#,
            ),
            // The one that names the host gets it.
            (
                r#"hosts: ["*"], paths: ["/v1/*"]"#,
                r#"hosts: [y.test], paths: ["/v1/*"]"#,
            ),
            (r#"hosts: ["*"], paths: ["/"]"#, r#"hosts: ["*"], paths: ["/*"]"#),
            (
                r#"hosts: ["*"], paths: [{path: "/", methods: [POST]}]"#,
                r#"hosts: ["*"], paths: [{path: "/", methods: [GET, DELETE]}]"#,
            ),
            (
                r#"hosts: ["*"], paths: ["/v1"]"#,
                r#"hosts: ["*"], paths: ["/v1/*"]"#,
            ),
        ] {
            let found = problems(&format!("{one}, upstream: a"), &format!("{two}, upstream: b"));
            assert_eq!(found, [""; 0], "{one} {two}");
        }
    }

    #[test]
    fn open_catch_all_that_shares_host_and_upstream_is_refused() {
        let enforced = r#"hosts: ["*"], paths: ["/v1/*"], upstream: a"#;
        for (open, taken) in [
            (r#"hosts: [x.test], paths: ["/*"], upstream: a"#, false),
            (r#"hosts: ["*"], paths: ["/sources", "/*"], upstream: a"#, false),
            // The same server under another upstream's name.
            (r#"hosts: [x.test], paths: ["/*"], upstream: c"#, false),
            (
                r#"hosts: [x.test], paths: ["/*"], upstream: a, shares_upstream: true"#,
                true,
            ),
            (r#"hosts: [x.test], paths: ["/*"], upstream: b"#, true),
            (r#"hosts: [x.test], paths: ["/api/*"], upstream: a"#, true),
        ] {
            let found = problems(enforced, open);
            assert_eq!(found.is_empty(), taken, "{open}: {found:?}");
            if let [only, ..] = found.as_slice() {
                assert!(
                    only.starts_with("test.yaml:6:56: apis.open forwards requests without a token"),
                    "{only}"
                );
                assert!(only.contains("apis.enforced (test.yaml:5:"), "{only}");
                assert!(only.contains("`shares_upstream: true`"), "{only}");
            }
        }
        let on_its_own_host = r#"hosts: [x.test], paths: ["/v1/*"], upstream: a"#;
        let other = r#"hosts: [y.test], paths: ["/*"], upstream: a"#;
        assert_eq!(problems(on_its_own_host, other), [""; 0]);
    }
}
