//! The config's `health_check:` section of an upstream.

use std::time::Duration;

use serde_saphyr::Spanned;

use super::check::Check;
use super::file;
use super::types::HealthCheck;

impl Check<'_> {
    pub(super) fn health_check(&mut self, file: &file::HealthCheckFile) -> HealthCheck {
        if let Some(path) = &file.path
            && !path.value.starts_with('/')
        {
            self.problem(
                path.referenced,
                "is not a path",
                "write /path, or leave it out to only connect",
            );
        }
        if let Some(host) = &file.host {
            let is_authority = host.value.parse::<http::uri::Authority>().is_ok();
            if !is_authority || host.value.contains('@') {
                self.problem(
                    host.referenced,
                    "is not a host",
                    "write a name, with `:PORT` behind it if the server expects one",
                );
            }
            if file.path.is_none() {
                self.problem(
                    host.referenced,
                    "has no effect without `path`",
                    "add `path`, or leave it out to only connect",
                );
            }
        }
        let or = |value: &Option<Spanned<file::Duration>>, seconds| {
            value
                .as_ref()
                .map_or(Duration::from_secs(seconds), |held| held.value.0)
        };
        HealthCheck {
            path: file.path.as_ref().map(|path| path.value.clone()),
            host: file.host.as_ref().map(|host| host.value.clone()),
            interval: or(&file.interval, 5).max(Duration::from_millis(100)),
            timeout: or(&file.timeout, 2),
            healthy_after: file.healthy_after.as_ref().map_or(1, |times| times.value.max(1)),
            unhealthy_after: file
                .unhealthy_after
                .as_ref()
                .map_or(2, |times| times.value.max(1)),
        }
    }
}
