//! The store in a `PostgreSQL` database, which several processes may share.
//!
//! TLS is the driver's: rustls with aws-lc-rs, Mozilla's root certificates, and those of `sslrootcert`. Unless the
//! URL sets `sslmode`, a connection to another machine requires TLS with a verified certificate (`verify-full`).

use super::database::CHANNEL;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Connection as _};
use tokio::time::timeout;

use super::database::{Kind, Store, WAIT};
use super::error::{StoreError, migration_error};
use super::replay::Replays;
use super::rows::number;
use super::schema::MIGRATOR;
use crate::domain::time::UnixSeconds;
use crate::store_location::{DatabaseUrl, StoreLocation};

/// Connections for ledger rows.
const LEDGER: u32 = 6;

/// Connections that only read.
const READERS: u32 = 6;

/// The oldest server version that is tested, as `server_version_num`.
const OLDEST: i64 = 150_000;

/// Timeout of one connection attempt.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A connection that was cut silently is detected after this time.
const ALIVE_WITHIN: Duration = Duration::from_secs(30);

/// The first and the longest backoff before a lost connection is retried.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

// Every statement has a timeout; a transaction of a process that hangs is rolled back, which releases the version's
// row lock.
const WRITER: &str = "SET statement_timeout = '5s'; SET idle_in_transaction_session_timeout = '15s'; \
     SET default_transaction_isolation = 'read committed'; SET synchronous_commit = on";
const READER: &str = "SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '60s'; \
     SET default_transaction_isolation = 'repeatable read'; SET default_transaction_read_only = on";
// A migration may rewrite a large table; waiting for a lock is bounded.
const MIGRATION: &str = "SET statement_timeout = 0; SET lock_timeout = '60s'; SET synchronous_commit = on";

const NOTIFICATIONS_LOST: &str = "change notifications unavailable; polling the store every second";

pub(super) async fn open(url: &DatabaseUrl) -> Result<Store, StoreError> {
    let store = || StoreLocation::Postgres(url.clone());
    let options = options(url)?;
    let mut connection = connect(&options, url).await?;
    check_server(&mut connection, url).await?;
    // The driver takes a lock in the database while it migrates, so that only one of several processes does.
    migrate(&mut connection)
        .await
        .map_err(|error| migration_error(store(), error))?;
    connection.close().await?;
    connected(&options, url).await
}

pub(super) async fn open_for_admin(url: &DatabaseUrl) -> Result<Store, StoreError> {
    let options = options(url)?;
    connect(&options, url).await?.close().await?;
    connected(&options, url).await
}

async fn connected(options: &AnyConnectOptions, url: &DatabaseUrl) -> Result<Store, StoreError> {
    let ledger = pool(LEDGER, options, WRITER).await?;
    Ok(Store {
        writer: pool(1, options, WRITER).await?,
        replays: Replays::start(ledger.clone(), None),
        ledger,
        readers: pool(READERS, options, READER).await?,
        turn: std::sync::Arc::default(),
        kind: Kind::Postgres(url.clone()),
    })
}

pub(super) async fn open_to_read(url: &DatabaseUrl) -> Result<Store, StoreError> {
    let options = options(url)?;
    connect(&options, url).await?.close().await?;
    let readers = pool(READERS, &options, READER).await?;
    Ok(Store {
        writer: readers.clone(),
        replays: Replays::start(readers.clone(), None),
        ledger: readers.clone(),
        readers,
        turn: std::sync::Arc::default(),
        kind: Kind::Postgres(url.clone()),
    })
}

async fn connect(options: &AnyConnectOptions, url: &DatabaseUrl) -> Result<AnyConnection, StoreError> {
    let problem = match timeout(CONNECT_WITHIN, options.connect()).await {
        Ok(Ok(connection)) => return Ok(connection),
        Ok(Err(problem)) => problem,
        Err(_) => sqlx::Error::PoolTimedOut,
    };
    let hint = match &problem {
        problem if is_about_tls(problem) => {
            "add ?sslrootcert=FILE to the URL for a private CA, or ?sslmode=disable to connect without TLS"
        }
        sqlx::Error::Database(_) => "check the user, the password and the database name in the URL",
        _ => "check that the database is running, and the host and port in the URL",
    };
    Err(StoreError::NotReached {
        store: StoreLocation::Postgres(url.clone()),
        problem,
        hint,
    })
}

/// Whether the server has no TLS or the wrong certificate, which the driver reports as a connection error.
fn is_about_tls(problem: &sqlx::Error) -> bool {
    match problem {
        sqlx::Error::Tls(_) => true,
        sqlx::Error::Io(error) => error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()),
        _ => false,
    }
}

async fn check_server(connection: &mut AnyConnection, url: &DatabaseUrl) -> Result<(), StoreError> {
    let unsuitable = |problem: String| StoreError::Unsuitable {
        store: StoreLocation::Postgres(url.clone()),
        problem,
    };
    let setting = "SELECT current_setting($1)";
    let version: String = sqlx::query_scalar(setting)
        .bind("server_version_num")
        .fetch_one(&mut *connection)
        .await?;
    if version.parse::<i64>().is_ok_and(|version| version < OLDEST) {
        return Err(unsuitable(
            "its version is older than PostgreSQL 15; upgrade it to 15 or later".to_owned(),
        ));
    }
    let encoding: String = sqlx::query_scalar(setting)
        .bind("server_encoding")
        .fetch_one(connection)
        .await?;
    if encoding != "UTF8" {
        return Err(unsuitable(format!(
            "its encoding is {encoding}; create the database with ENCODING 'UTF8'"
        )));
    }
    Ok(())
}

async fn migrate(connection: &mut AnyConnection) -> Result<(), MigrateError> {
    sqlx::raw_sql(MIGRATION).execute(&mut *connection).await?;
    MIGRATOR.run(connection).await
}

/// Connection options for the driver.
fn options(url: &DatabaseUrl) -> Result<AnyConnectOptions, StoreError> {
    Ok(safe_url(url).parse()?)
}

/// The URL, with `sslmode=verify-full` unless it sets another mode or stays on this machine.
fn safe_url(url: &DatabaseUrl) -> zeroize::Zeroizing<String> {
    let mut text = zeroize::Zeroizing::new(url.expose().to_owned());
    if !url.is_local() && !url.has_ssl_mode() {
        let separator = if text.contains('?') { '&' } else { '?' };
        text.push(separator);
        text.push_str("sslmode=verify-full");
    }
    text
}

async fn pool(
    connections: u32,
    options: &AnyConnectOptions,
    settings: &'static str,
) -> Result<AnyPool, sqlx::Error> {
    AnyPoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(WAIT)
        .max_lifetime(None)
        .idle_timeout(None)
        .after_connect(move |connection: &mut AnyConnection, _| {
            Box::pin(async move {
                sqlx::raw_sql(settings).execute(connection).await?;
                Ok(())
            })
        })
        // Without a bound, a connection that was cut silently would never free its place.
        .after_release(|connection: &mut AnyConnection, _| {
            Box::pin(async move { Ok(matches!(timeout(WAIT, connection.ping()).await, Ok(Ok(())))) })
        })
        .connect_with(options.clone())
        .await
}

/// The server's current time, not that of the transaction's start.
pub(super) async fn time(pool: &AnyPool) -> Result<UnixSeconds, StoreError> {
    let seconds: i64 =
        sqlx::query_scalar("SELECT CAST(floor(extract(epoch FROM clock_timestamp())) AS BIGINT)")
            .fetch_one(pool)
            .await?;
    super::rows::moment(seconds, "clock_timestamp")
}

/// Notifications of changes. They can be lost with their connection, so receivers also poll.
pub struct Notifications {
    url: Option<DatabaseUrl>,
    listener: Option<PgListener>,
    backoff: Duration,
}

impl Notifications {
    /// For a store that no other process changes.
    pub(super) const fn silent() -> Self {
        Self {
            url: None,
            listener: None,
            backoff: BACKOFF.0,
        }
    }

    pub(super) const fn of(url: DatabaseUrl) -> Self {
        Self {
            url: Some(url),
            listener: None,
            backoff: BACKOFF.0,
        }
    }

    /// The next version that another process committed, or `None` if notifications may have been missed, such as
    /// after a new connection. Never resolves for a store that no other process changes.
    pub async fn next(&mut self) -> Option<u64> {
        let Some(url) = &self.url else {
            return std::future::pending().await;
        };
        loop {
            let Some(listener) = &mut self.listener else {
                match listen(url).await {
                    Ok(listener) => {
                        self.listener = Some(listener);
                        self.backoff = BACKOFF.0;
                        return None;
                    }
                    Err(error) => {
                        tracing::debug!(%error, "{NOTIFICATIONS_LOST}");
                        tokio::time::sleep(self.backoff).await;
                        self.backoff = (self.backoff * 2).min(BACKOFF.1);
                    }
                }
                continue;
            };
            match timeout(ALIVE_WITHIN, listener.try_recv()).await {
                Ok(Ok(Some(notification))) => {
                    let version = notification.payload().parse().ok();
                    return version.and_then(|version| number(version, "policy_version").ok());
                }
                Ok(Ok(None) | Err(_)) => self.listener = None,
                Err(_) => {
                    let ping = sqlx::query("SELECT 1").execute(&mut *listener);
                    if !matches!(timeout(WAIT, ping).await, Ok(Ok(_))) {
                        self.listener = None;
                    }
                }
            }
        }
    }
}

async fn listen(url: &DatabaseUrl) -> Result<PgListener, sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CONNECT_WITHIN)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect(&safe_url(url))
        .await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}
