//! One line of the access log: its fields, in JSON or as `key=value`.
//!
//! What is never in it: credentials, write keys, query strings, bodies, and claims of a token that did not verify.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::config::LogFormat;

/// The longest segment of a path that is shown, in bytes. Identifiers are shorter, tokens are longer.
const SEGMENT_SHOWN_MAX: usize = 48;

/// What is logged of one request. What is not known is `null` in JSON and absent in text.
#[derive(Clone, Debug, Default)]
pub struct AccessRecord<'a> {
    /// When the request ended, in milliseconds since 1970.
    pub at_ms: u64,
    pub request_id: &'a str,
    /// The W3C trace that the request belongs to.
    pub trace_id: Option<&'a str>,
    /// The gateway's part of the trace: the parent of what the upstream does.
    pub span_id: Option<&'a str>,
    pub client: Option<IpAddr>,
    pub host: Option<&'a str>,
    pub method: Option<&'a str>,
    pub path: Option<Cow<'a, str>>,
    /// As sent to the client; 0 where the client left before the response.
    pub status: u16,
    pub api: Option<&'a str>,
    /// `allow`, `deny`, `would_deny` or `error`.
    pub decision: &'static str,
    pub reason: Option<&'static str>,
    pub source_id: Option<&'a str>,
    /// The app of a verified token, connected to the source or not.
    pub app_id: Option<&'a str>,
    pub workspace_id: Option<&'a str>,
    /// The issuer of a verified token, or the trusted issuer whose keys do not verify it.
    pub issuer: Option<&'a str>,
    /// The app's key that proved the token request, as a verified token says.
    pub client_key_id: Option<&'a str>,
    /// The server that the request was sent to.
    pub upstream_server: Option<SocketAddr>,
    /// Who ended the response in the middle: `upstream` or `client`.
    pub cut: Option<&'static str>,
    pub took: Duration,
    /// Verifying the token and deciding.
    pub decide: Option<Duration>,
    /// From choosing a server to the end of the response.
    pub upstream: Option<Duration>,
    /// Bytes of the request's body that were read.
    pub bytes_in: u64,
    /// Bytes of the response's body that were sent.
    pub bytes_out: u64,
}

/// A value of a line.
enum Field<'a> {
    Text(Cow<'a, str>),
    Number(u64),
    Absent,
}

impl AccessRecord<'_> {
    /// The line without its end.
    #[must_use]
    pub fn line(&self, format: LogFormat) -> String {
        match format {
            LogFormat::Json => serde_json::to_string(self).unwrap_or_default(),
            LogFormat::Text => self.text(),
        }
    }

    fn fields(&self) -> [(&'static str, Field<'_>); 24] {
        [
            ("timestamp", Field::Text(rfc3339(self.at_ms).into())),
            ("request_id", self.request_id.into()),
            ("trace_id", self.trace_id.into()),
            ("span_id", self.span_id.into()),
            ("client", shown(self.client)),
            ("host", self.host.into()),
            ("method", self.method.into()),
            ("path", self.path.as_deref().into()),
            ("status", Field::Number(self.status.into())),
            ("api", self.api.into()),
            ("decision", self.decision.into()),
            ("reason", self.reason.into()),
            ("source_id", self.source_id.into()),
            ("app_id", self.app_id.into()),
            ("workspace_id", self.workspace_id.into()),
            ("issuer", self.issuer.into()),
            ("client_key_id", self.client_key_id.into()),
            ("upstream_server", shown(self.upstream_server)),
            ("cut", self.cut.into()),
            ("took_us", micros(self.took)),
            ("decide_us", self.decide.map_or(Field::Absent, micros)),
            ("upstream_us", self.upstream.map_or(Field::Absent, micros)),
            ("bytes_in", Field::Number(self.bytes_in)),
            ("bytes_out", Field::Number(self.bytes_out)),
        ]
    }

    fn text(&self) -> String {
        let mut line = String::with_capacity(512);
        for (name, field) in self.fields() {
            let value = match field {
                Field::Absent => continue,
                Field::Number(number) => number.to_string().into(),
                Field::Text(text) if is_bare(&text) => text,
                Field::Text(text) => serde_json::Value::from(text.as_ref()).to_string().into(),
            };
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(name);
            line.push('=');
            line.push_str(&value);
        }
        line
    }
}

impl Serialize for AccessRecord<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut line = to.serialize_map(None)?;
        for (name, field) in self.fields() {
            match field {
                Field::Text(text) => line.serialize_entry(name, &text)?,
                Field::Number(number) => line.serialize_entry(name, &number)?,
                Field::Absent => line.serialize_entry(name, &())?,
            }
        }
        line.end()
    }
}

impl<'a> From<&'a str> for Field<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl<'a> From<Option<&'a str>> for Field<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::Absent, Self::from)
    }
}

fn shown(value: Option<impl ToString>) -> Field<'static> {
    value.map_or(Field::Absent, |value| Field::Text(value.to_string().into()))
}

fn micros(time: Duration) -> Field<'static> {
    Field::Number(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// Whether a value can stand without quotes.
fn is_bare(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
    !text.is_empty() && text.bytes().all(is_plain)
}

fn rfc3339(at_ms: u64) -> String {
    let moment = i64::try_from(at_ms)
        .ok()
        .and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    moment.map_or_else(|| at_ms.to_string(), |moment| format!("{moment:.3}"))
}

/// A path as the log shows it: without query, and without segments so long that they may be a token or a key
/// that a client put there by mistake.
#[must_use]
pub fn shown_path(target: &str) -> String {
    let path = target.split('?').next().unwrap_or_default();
    let shown = |segment: &str| {
        if segment.len() > SEGMENT_SHOWN_MAX {
            "(long)"
        } else {
            segment
        }
        .to_owned()
    };
    path.split('/').map(shown).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_without_query_and_without_what_may_be_a_token() {
        assert_eq!(shown_path("/v1/batch/?b=key"), "/v1/batch/");
        let token = "a".repeat(SEGMENT_SHOWN_MAX + 1);
        assert_eq!(shown_path(&format!("/v1/{token}/x")), "/v1/(long)/x");
    }

    #[test]
    fn text_quotes_what_could_be_taken_for_a_field() {
        let record = AccessRecord {
            at_ms: 1_764_400_000_123,
            request_id: "r-1",
            path: Some("/a b=\"c\"\n".into()),
            decision: "deny",
            ..AccessRecord::default()
        };
        assert_eq!(
            record.line(LogFormat::Text),
            "timestamp=2025-11-29T07:06:40.123Z request_id=r-1 path=\"/a b=\\\"c\\\"\\n\" status=0 decision=deny \
             took_us=0 bytes_in=0 bytes_out=0"
        );
    }
}
