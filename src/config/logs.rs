//! The sections `log` and `observability.access_log`: what is logged, how, and where.

use serde_saphyr::Spanned;

use super::check::Check;
use super::file;
use super::types::{AccessLog, Log, LogFormat, LogLevel};

impl Check<'_> {
    /// The access log, or `None` where it is off.
    pub(super) fn access_log(&mut self, file: &file::AccessLogFile) -> Option<AccessLog> {
        let log = AccessLog {
            format: self.log_format(file.format.as_ref()),
            sample_allowed: self.share(file.sample_allowed.as_ref()),
            file: file.file.as_ref().and_then(|path| self.file_path(path)),
        };
        file.enabled.unwrap_or(true).then_some(log)
    }

    /// The log of events.
    pub(super) fn log(&mut self, file: &file::LogFile) -> Log {
        let levels = LogLevel::ALL.map(|level| (level.as_str(), level));
        Log {
            level: self.word(file.level.as_ref(), &levels, LogLevel::default()),
            format: self.log_format(file.format.as_ref()),
        }
    }

    fn log_format(&mut self, raw: Option<&Spanned<String>>) -> LogFormat {
        let words = [("json", LogFormat::Json), ("text", LogFormat::Text)];
        self.word(raw, &words, LogFormat::Json)
    }

    /// A share of all; 1 unless set.
    fn share(&mut self, raw: Option<&Spanned<f64>>) -> f64 {
        let Some(raw) = raw else { return 1.0 };
        // Not a number is in no range either.
        if !(0.0..=1.0).contains(&raw.value) {
            self.problem(
                raw.referenced,
                "the value is out of range",
                "write a share of 0 to 1, such as 0.01 for one request in a hundred",
            );
        }
        raw.value
    }
}
