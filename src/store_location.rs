//! The location of the store: a `SQLite` file or a `PostgreSQL` database. Never prints a password.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use zeroize::Zeroizing;

/// The parameters that a database URL may have.
const PARAMETERS: [&str; 14] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
    "ssl-mode",
];

/// The location of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreLocation {
    /// A file on this machine, for one process at a time.
    Sqlite(PathBuf),
    /// A `PostgreSQL` database (15 or later), for one or several processes.
    Postgres(DatabaseUrl),
}

/// Why a text is no store location. The messages contain nothing of the text.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidLocation {
    #[error("is not a store location; write sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE")]
    Kind,
    #[error("names no file; write sqlite:PATH, such as sqlite:data/portcullis.db")]
    Path,
    #[error("names no database; write postgres://USER:PASSWORD@HOST/DATABASE")]
    Database,
    #[error("has a character that is not allowed in a URL; percent-encode it, also in the password")]
    Character,
    #[error(
        "has the unknown parameter `{0}`; known are sslmode, sslrootcert, sslcert, sslkey, host, port, user, password, dbname, application_name and options"
    )]
    Parameter(String),
}

impl StoreLocation {
    /// Parses `sqlite:PATH`, a relative path being relative to `folder`, or a `postgres://` URL.
    ///
    /// # Errors
    /// [`InvalidLocation`], which says what to write.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, InvalidLocation> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.starts_with(':') {
                return Err(InvalidLocation::Path);
            }
            return Ok(Self::Sqlite(folder.join(path)));
        }
        DatabaseUrl::parse(text).map(Self::Postgres)
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

/// The URL of a database. Its `Display` and `Debug` show neither password nor parameters.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(Arc<Zeroizing<String>>);

impl DatabaseUrl {
    fn parse(text: &str) -> Result<Self, InvalidLocation> {
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
            .ok_or(InvalidLocation::Kind)?;
        // A `#`, `/` or `?` in a password would end the password early and make the rest of it a host, which is
        // shown.
        if !rest
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&byte))
        {
            return Err(InvalidLocation::Character);
        }
        let url = Self(Arc::new(Zeroizing::new(text.to_owned())));
        let parts = url.parts();
        if [parts.host, parts.database, parts.query]
            .iter()
            .any(|part| part.contains('@'))
        {
            return Err(InvalidLocation::Character);
        }
        let mut named = !parts.database.is_empty();
        for (key, _) in parts.parameters() {
            let option = key.starts_with("options[") && key.ends_with(']');
            if !option && !PARAMETERS.contains(&key) {
                return Err(InvalidLocation::Parameter(key.to_owned()));
            }
            named |= key == "dbname";
        }
        if named {
            Ok(url)
        } else {
            Err(InvalidLocation::Database)
        }
    }

    /// The whole URL with its password, for the database driver only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the database is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let parts = self.parts();
        let host = parts
            .parameters()
            .filter(|(key, _)| matches!(*key, "host" | "hostaddr"))
            .last()
            .map_or_else(|| parts.host_without_port(), |(_, value)| value);
        let socket = host.is_empty() || host.starts_with('/') || host.get(..3).is_some_and(is_slash);
        socket || matches!(host, "localhost" | "127.0.0.1" | "[::1]" | "::1")
    }

    /// Whether the URL sets a TLS mode.
    #[must_use]
    pub fn has_ssl_mode(&self) -> bool {
        self.parts()
            .parameters()
            .any(|(key, _)| matches!(key, "sslmode" | "ssl-mode"))
    }

    fn parts(&self) -> Parts<'_> {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        Parts {
            user: user.split_once(':').map_or(user, |(name, _)| name),
            host,
            database,
            query,
        }
    }
}

fn is_slash(encoded: &str) -> bool {
    encoded.eq_ignore_ascii_case("%2f")
}

struct Parts<'u> {
    user: &'u str,
    /// With its port.
    host: &'u str,
    database: &'u str,
    query: &'u str,
}

impl<'u> Parts<'u> {
    fn parameters(&self) -> impl Iterator<Item = (&'u str, &'u str)> + use<'u> {
        self.query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    fn host_without_port(&self) -> &'u str {
        match self.host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => self.host,
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts {
            user, host, database, ..
        } = self.parts();
        f.write_str("postgres://")?;
        if !user.is_empty() {
            write!(f, "{user}@")?;
        }
        write!(f, "{host}/{database}")
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<StoreLocation, InvalidLocation> {
        StoreLocation::parse(text, Path::new("/etc/portcullis"))
    }

    fn database(text: &str) -> DatabaseUrl {
        match parse(text) {
            Ok(StoreLocation::Postgres(url)) => url,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn relative_path_is_relative_to_the_folder() {
        for (text, path) in [
            ("sqlite:data/p.db", "/etc/portcullis/data/p.db"),
            ("sqlite://data/p.db", "/etc/portcullis/data/p.db"),
            ("sqlite:/var/lib/p.db", "/var/lib/p.db"),
            ("sqlite:///var/lib/p.db", "/var/lib/p.db"),
        ] {
            assert_eq!(
                parse(text),
                Ok(StoreLocation::Sqlite(PathBuf::from(path))),
                "{text}"
            );
        }
    }

    #[test]
    fn invalid_locations_are_rejected() {
        for (text, problem) in [
            ("", InvalidLocation::Kind),
            ("data/p.db", InvalidLocation::Kind),
            ("mysql://host/p", InvalidLocation::Kind),
            ("sqlite:", InvalidLocation::Path),
            ("sqlite::memory:", InvalidLocation::Path),
            ("postgres://host", InvalidLocation::Database),
            ("postgres://u:p#w@host/p", InvalidLocation::Character),
            ("postgres://u:p w@host/p", InvalidLocation::Character),
            ("postgres://u:p/w@host/p", InvalidLocation::Character),
            ("postgres://u:p?w@host/p", InvalidLocation::Character),
            (
                "postgres://host/p?sslpassword=x",
                InvalidLocation::Parameter("sslpassword".to_owned()),
            ),
        ] {
            assert_eq!(parse(text), Err(problem), "{text}");
        }
    }

    #[test]
    fn password_is_never_printed() {
        for text in [
            "postgres://me:hunter2@db.example:5432/portcullis",
            "postgres://me:hunter2@db.example:5432/portcullis?password=hunter2",
            "postgresql://me:a:hunter2@db.example:5432/portcullis?sslmode=disable&password=hunter2",
        ] {
            let url = database(text);
            assert_eq!(url.to_string(), "postgres://me@db.example:5432/portcullis");
            assert_eq!(url.expose(), text);
            let location = parse(text);
            assert!(!format!("{url:?} {location:?} {location:#?}").contains("hunter2"));
        }
    }

    #[test]
    fn local_hosts_are_recognised() {
        for (text, local) in [
            ("postgres:///p", true),
            ("postgres://me@localhost/p", true),
            ("postgres://me@127.0.0.1:5433/p", true),
            ("postgres://[::1]:5433/p", true),
            ("postgres://%2Fvar%2Frun/p", true),
            ("postgres:///p?host=/var/run", true),
            ("postgres://localhost/p?host=db.example", false),
            ("postgres://db.example/p", false),
            ("postgres://me:localhost@db.example/p", false),
        ] {
            assert_eq!(database(text).is_local(), local, "{text}");
        }
    }
}
