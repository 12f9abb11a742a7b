//! Compares the gateways of two configs: APIs and limits.

use super::findings::Findings;
use crate::config::{Api, ApiPath, Gateway, Identify, Limits, PathPattern};
use crate::domain::facts::{UnknownSources, WithoutToken};

pub(super) fn compare(old: &Gateway, new: &Gateway, findings: &mut Findings) {
    for api in &new.apis {
        match old.apis.iter().find(|held| held.name == api.name) {
            Some(before) => changed_api(before, api, findings),
            None => findings.allow(format!(
                "API `{}` is added: requests to {}",
                api.name,
                places(api)
            )),
        }
    }
    for gone in old
        .apis
        .iter()
        .filter(|api| !new.apis.iter().any(|held| held.name == api.name))
    {
        findings.deny(format!(
            "API `{}` is removed: requests to {}, unless another API takes them",
            gone.name,
            places(gone)
        ));
    }
    limits(&old.limits, &new.limits, findings);
    if old.public_url != new.public_url {
        findings.other("`gateway.public_url` changes: the audience and the metadata that name the gateway");
    }
    if old.trusted_proxies != new.trusted_proxies {
        findings.other("`gateway.trusted_proxies` changes: whose forwarding headers are believed");
    }
}

fn places(api: &Api) -> String {
    let paths: Vec<String> = api.paths.iter().map(path_text).collect();
    format!("{} on {}", paths.join(", "), api.hosts.join(", "))
}

fn path_text(path: &ApiPath) -> String {
    let pattern = match &path.pattern {
        PathPattern::Exact(path) => path.clone(),
        PathPattern::Prefix(prefix) => format!("{prefix}*"),
    };
    match path.methods.is_empty() {
        true => pattern,
        false => format!("{} {pattern}", path.methods.join("|")),
    }
}

fn changed_api(old: &Api, new: &Api, findings: &mut Findings) {
    let name = &new.name;
    findings.lists(&old.hosts, &new.hosts, |host| {
        format!("API `{name}`: requests to host `{host}`")
    });
    findings.lists(&old.paths, &new.paths, |path| {
        format!("API `{name}`: requests to `{}`", path_text(path))
    });
    if old.scope != new.scope {
        let scopes = format!(
            "API `{name}` needs scope `{}` -> `{}`",
            old.scope.as_str(),
            new.scope.as_str()
        );
        findings.deny(format!("{scopes}: tokens with the former alone"));
        findings.allow(format!("{scopes}: tokens with the latter alone"));
    }
    findings.lists(&old.identify, &new.identify, |place| {
        format!(
            "API `{name}`: requests that name their source {}",
            place_text(place)
        )
    });
    match (old.unknown_sources, new.unknown_sources) {
        (UnknownSources::Deny, UnknownSources::Forward) => {
            findings.allow(format!(
                "API `{name}`: requests with a write key that no source has"
            ));
        }
        (UnknownSources::Forward, UnknownSources::Deny) => {
            findings.deny(format!(
                "API `{name}`: requests with a write key that no source has"
            ));
        }
        _ => {}
    }
    match (old.without_token, new.without_token) {
        (WithoutToken::Deny, WithoutToken::Forward) => {
            findings.allow(format!("API `{name}`: requests without an access token"));
        }
        (WithoutToken::Forward, WithoutToken::Deny) => {
            findings.deny(format!("API `{name}`: requests without an access token"));
        }
        _ => {}
    }
    api_responses(old, new, findings);
}

/// What changes about requests that are allowed or denied as before.
fn api_responses(old: &Api, new: &Api, findings: &mut Findings) {
    let name = &new.name;
    if old.upstream != new.upstream {
        findings.other(format!(
            "API `{name}` forwards to upstream `{}` -> `{}`",
            old.upstream, new.upstream
        ));
    }
    if old.reauthenticate_status != new.reauthenticate_status {
        findings.other(format!(
            "API `{name}` answers {} -> {} where a new token helps",
            old.reauthenticate_status, new.reauthenticate_status
        ));
    }
    if old.forward_token != new.forward_token {
        findings.other(match new.forward_token {
            true => format!("API `{name}` forwards access tokens to its upstream"),
            false => format!("API `{name}` no longer forwards access tokens to its upstream"),
        });
    }
    if old.cors != new.cors {
        findings.other(format!(
            "API `{name}`: which origins of browsers may read its responses"
        ));
    }
    if old.error_form != new.error_form {
        findings.other(format!("API `{name}`: the form of its error responses"));
    }
}

fn place_text(place: &Identify) -> String {
    match place {
        Identify::Basic => "as the user of HTTP Basic".to_owned(),
        Identify::Body => "as `writeKey` of the body".to_owned(),
        Identify::Query(name) => format!("in the query parameter `{name}`"),
        Identify::Header(name) => format!("in the header `{name}`"),
        Identify::Pixel => "in the query of a pixel".to_owned(),
        Identify::Token => "by their token".to_owned(),
    }
}

fn limits(old: &Limits, new: &Limits, findings: &mut Findings) {
    let sizes = [
        ("bodies, in bytes,", old.body_bytes, new.body_bytes),
        ("headers, in bytes together,", old.header_bytes, new.header_bytes),
        ("headers, in number,", old.headers, new.headers),
        ("access tokens, in bytes,", old.token_bytes, new.token_bytes),
        (
            "bodies held at once, in bytes together,",
            old.held_bytes,
            new.held_bytes,
        ),
        (
            "bodies held at once for one client, in bytes,",
            old.held_bytes_per_client,
            new.held_bytes_per_client,
        ),
        ("connections, in number,", old.connections, new.connections),
        (
            "connections of one client, in number,",
            old.connections_per_client,
            new.connections_per_client,
        ),
    ];
    for (what, old, new) in sizes {
        findings.bound(what, &old, &new);
    }
    let times = [
        (
            "TLS handshakes that take time",
            old.handshake_timeout,
            new.handshake_timeout,
        ),
        (
            "request heads that take time",
            old.header_timeout,
            new.header_timeout,
        ),
        ("bodies that take time", old.body_timeout, new.body_timeout),
        (
            "connections that are idle for a time",
            old.idle_timeout,
            new.idle_timeout,
        ),
    ];
    for (what, old, new) in times {
        findings.bound(what, &old, &new);
    }
}
