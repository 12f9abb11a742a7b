//! The config's `health_check:` section of an upstream.

use std::time::Duration;

use super::check::Check;
use super::file;
use super::shown::shown;
use super::types::HealthCheck;

impl Check<'_> {
    pub(super) fn health_check(&mut self, file: &file::HealthCheckFile) -> HealthCheck {
        let path = file.path.as_ref().and_then(|raw| {
            let path = self.text(raw)?;
            let is_target = path.starts_with('/') && path.parse::<http::uri::PathAndQuery>().is_ok();
            if !is_target || path.contains('#') {
                self.problem(
                    raw.referenced,
                    format!("`{}` is not a path", shown(raw)),
                    "write /path, or leave it out to only connect",
                );
            }
            Some(path)
        });
        let host = file.host.as_ref().and_then(|raw| {
            let host = self.text(raw)?;
            if host.parse::<http::uri::Authority>().is_err() || host.contains('@') {
                self.problem(
                    raw.referenced,
                    format!("`{}` is not a host", shown(raw)),
                    "write a name, with `:PORT` behind it if the server expects one",
                );
            }
            if file.path.is_none() {
                self.problem(
                    raw.referenced,
                    "`host` has no effect without `path`",
                    "add `path`, or leave it out to only connect",
                );
            }
            Some(host)
        });
        let times = (1, 100);
        let (hundred_ms, second) = (Duration::from_millis(100), Duration::from_secs(1));
        HealthCheck {
            path,
            host,
            interval: self.in_range(
                file.interval.as_ref(),
                second * 5,
                |held| held.0,
                (hundred_ms, second * 3_600),
                "100ms to 1h",
            ),
            timeout: self.timeout(file.timeout.as_ref(), second * 2),
            healthy_after: self.in_range(file.healthy_after.as_ref(), 1, |held| held, times, "1 to 100"),
            unhealthy_after: self.in_range(file.unhealthy_after.as_ref(), 2, |held| held, times, "1 to 100"),
        }
    }
}
