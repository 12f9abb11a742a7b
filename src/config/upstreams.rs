//! The config's `gateway.upstreams:` section: pools of servers, their TLS and their health checks.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::address::is_host;
use super::check::Check;
use super::file;
use super::shown::shown;
use super::types::{Timeouts, Upstream, UpstreamTls};
use super::yaml::nearest::nearest;

impl Check<'_> {
    pub(super) fn upstream(&mut self, name: &str, file: &file::UpstreamFile) -> Option<Upstream> {
        self.if_empty(
            &file.servers,
            "the upstream has no server",
            "add at least one host:port",
        );
        let mut servers = Vec::new();
        for server in &file.servers.value {
            servers.extend(self.server_address(server));
        }
        let tls = match &file.tls {
            None => None,
            Some(tls) => {
                let sni = self.text(&tls.sni);
                if sni.as_deref().is_some_and(|sni| !is_host(sni)) {
                    self.problem(
                        tls.sni.referenced,
                        format!("`{}` is not a host name", shown(&tls.sni)),
                        "name the host that the certificate is for",
                    );
                }
                let ca = match &tls.ca {
                    Some(path) => Some(self.authorities(&format!("gateway.upstreams.{name}.tls.ca"), path)?),
                    None => None,
                };
                Some(UpstreamTls { sni: sni?, ca })
            }
        };
        let mut or = |value: &Option<Spanned<file::Duration>>, seconds| {
            self.timeout(value.as_ref(), Duration::from_secs(seconds))
        };
        let timeouts = Timeouts {
            connect: or(&file.timeouts.connect, 2),
            read: or(&file.timeouts.read, 30),
            write: or(&file.timeouts.write, 30),
            idle: or(&file.timeouts.idle, 60),
        };
        Some(Upstream {
            servers,
            tls,
            http2: file.http2.unwrap_or(false),
            health_check: file.health_check.as_ref().map(|check| self.health_check(check)),
            timeouts,
        })
    }

    pub(super) fn upstream_exists(
        &mut self,
        api: &str,
        file: &file::ApiFile,
        upstreams: &BTreeMap<String, file::UpstreamFile>,
    ) {
        let Some(name) = self.text(&file.upstream) else {
            return;
        };
        if upstreams.contains_key(&name) || self.is_incomplete("gateway.upstreams") {
            return;
        }
        let known: Vec<&str> = upstreams.keys().map(String::as_str).collect();
        let hint = match nearest(&name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", known.join(", ")),
        };
        let shown = shown(&file.upstream);
        self.problem(
            file.upstream.referenced,
            format!("apis.{api}.upstream refers to the unknown upstream `{shown}`"),
            hint,
        );
    }
}
