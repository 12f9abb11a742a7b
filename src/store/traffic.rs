//! What gateways counted: allowed, denied and would-deny requests of each source.

use crate::model::traffic::{SpanTraffic, Traffic};
use std::collections::{BTreeMap, HashMap};

use sqlx::{AnyConnection, AssertSqlSafe, FromRow};

use super::database::{ReadTx, Store, WriteTx};
use super::error::StoreError;
use super::rows::parameters;
use super::rows::{number, seconds};
use crate::domain::ids::{AppId, SourceId, WorkspaceId};
use crate::domain::time::UnixSeconds;
use crate::report::{Count, Verdict};

/// Seconds that are counted together: one span.
pub const SPAN_S: u64 = 300;

/// How long counts are kept, in seconds: a day and one span.
const KEPT_S: u64 = 24 * 3_600 + SPAN_S;

/// The most clients counted separately for one source in one span. Further ones are counted together.
const CLIENTS_MAX: i64 = 64;

/// Counts written in one transaction, so that no change waits for long.
const ROWS_AT_ONCE: usize = 256;

/// The most rows that one purge deletes.
const PURGE_ROWS: i64 = 1_000;

#[derive(FromRow)]
struct TrafficRow {
    verdict: String,
    reason: String,
    agent: String,
    address: String,
    requests: i64,
    last: i64,
}

/// The start of the span that contains a time.
const fn span_of(at: UnixSeconds) -> UnixSeconds {
    UnixSeconds(at.0 - at.0 % SPAN_S)
}

pub(crate) fn verdict(word: &str) -> Result<Verdict, StoreError> {
    Verdict::parse(word).ok_or(StoreError::Corrupted("traffic"))
}

/// The rules of requests whose rules had changed before their report came.
const OTHER_RULES: i64 = -1;

/// The rules that judge a source's requests: its enforcement and app, and the keys and scopes of the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// The policy version at which they took force.
    pub version: i64,
    pub since: UnixSeconds,
}

/// Workspace and version of the present rules of the sources that were counted, by the source's ID.
async fn sources_of(
    connection: &mut AnyConnection,
    counts: &[&Count],
) -> Result<HashMap<String, (String, i64)>, StoreError> {
    let mut ids: Vec<&str> = counts.iter().map(|count| count.source.as_str()).collect();
    ids.dedup();
    let text = format!(
        "SELECT s.id, s.workspace, s.rules_version, COALESCE(a.rules_version, 0) FROM sources s \
         LEFT JOIN apps a ON a.id = s.app WHERE s.id IN ({})",
        parameters(1, ids.len())
    );
    let mut query = sqlx::query_as::<_, (String, String, i64, i64)>(AssertSqlSafe(text)).persistent(false);
    for id in ids {
        query = query.bind(id);
    }
    let rows = query.fetch_all(connection).await?.into_iter();
    Ok(rows
        .map(|(id, workspace, of_source, of_app)| (id, (workspace, of_source.max(of_app))))
        .collect())
}

/// Adds requests to the row of their kind in a span, which these rules judged.
async fn add_count(
    connection: &mut AnyConnection,
    count: &Count,
    (span, rules): (i64, i64),
    requests: i64,
) -> Result<(), StoreError> {
    // A new kind of client has a row of its own while there is room.
    let mut client = (count.agent.as_str(), count.address.as_str());
    for _ in 0..2 {
        let added = sqlx::query(
            "INSERT INTO traffic (source, span, verdict, reason, agent, address, requests, rules) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $9 WHERE EXISTS (SELECT 1 FROM sources WHERE id = $1) \
             AND ($5 = '' OR (SELECT count(*) FROM traffic WHERE source = $1 AND span = $2) < $8 \
             OR EXISTS (SELECT 1 FROM traffic WHERE source = $1 AND span = $2 AND verdict = $3 \
             AND reason = $4 AND agent = $5 AND address = $6 AND rules = $9)) \
             ON CONFLICT (source, span, rules, verdict, reason, agent, address) \
             DO UPDATE SET requests = traffic.requests + excluded.requests",
        )
        .bind(count.source.as_str())
        .bind(span)
        .bind(count.verdict.as_str())
        .bind(count.reason.as_str())
        .bind(client.0)
        .bind(client.1)
        .bind(requests)
        .bind(CLIENTS_MAX)
        .bind(rules)
        .execute(&mut *connection)
        .await?;
        if added.rows_affected() > 0 || client.0.is_empty() {
            break;
        }
        client = ("", "");
    }
    Ok(())
}

impl Store {
    /// Adds what a gateway counted up to `now`. Skips sources that no longer exist.
    pub(crate) async fn add_traffic(&self, counts: &[Count], now: UnixSeconds) -> Result<(), StoreError> {
        let span = seconds(span_of(now));
        // Always in the same order, so that two processes cannot deadlock.
        let mut counts: Vec<&Count> = counts.iter().collect();
        counts.sort_by_key(|count| {
            (
                &count.source,
                count.verdict,
                &count.reason,
                &count.agent,
                &count.address,
            )
        });
        for some in counts.chunks(ROWS_AT_ONCE) {
            let _turn = self.ledger_turn().await;
            let mut tx = self.begin_ledger().await?;
            let sources = sources_of(&mut tx, some).await?;
            let mut sums = BTreeMap::<_, i64>::new();
            for count in some {
                let requests = i64::try_from(count.requests).unwrap_or(i64::MAX);
                let Some((workspace, present)) = sources.get(count.source.as_str()) else {
                    continue;
                };
                let sum = sums.entry((workspace, count.verdict)).or_default();
                *sum = sum.saturating_add(requests);
                let judged_by = i64::try_from(count.policy_version).unwrap_or(i64::MAX);
                let rules = if judged_by >= *present {
                    *present
                } else {
                    OTHER_RULES
                };
                add_count(&mut tx, count, (span, rules), requests).await?;
            }
            for ((workspace, verdict), requests) in sums {
                sqlx::query(
                    "INSERT INTO workspace_traffic (workspace, span, verdict, requests) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (workspace, span, verdict) \
                     DO UPDATE SET requests = workspace_traffic.requests + excluded.requests",
                )
                .bind(workspace)
                .bind(span)
                .bind(verdict.as_str())
                .bind(requests)
                .execute(&mut *tx)
                .await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }

    /// Deletes counts older than a day at `passed`, up to a bound. Returns whether there may be more.
    pub(crate) async fn purge_traffic(&self, passed: UnixSeconds) -> Result<bool, StoreError> {
        let _turn = self.ledger_turn().await;
        let mut tx = self.begin_ledger().await?;
        let before = seconds(passed.minus(KEPT_S));
        let of_workspaces = sqlx::query(
            "DELETE FROM workspace_traffic WHERE (workspace, span, verdict) IN \
             (SELECT workspace, span, verdict FROM workspace_traffic WHERE span < $1 LIMIT $2)",
        )
        .bind(before)
        .bind(PURGE_ROWS)
        .execute(&mut *tx)
        .await?;
        let removed = sqlx::query(
            "DELETE FROM traffic WHERE (source, span, rules, verdict, reason, agent, address) IN \
             (SELECT source, span, rules, verdict, reason, agent, address FROM traffic WHERE span < $1 LIMIT $2)",
        )
        .bind(before)
        .bind(PURGE_ROWS)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        let most = removed.rows_affected().max(of_workspaces.rows_affected());
        Ok(most >= PURGE_ROWS.unsigned_abs())
    }
}

impl ReadTx {
    /// A source's requests in the `seconds_back` before `now`, to the span, the most frequent first: those that these
    /// rules judged, or all.
    pub(crate) async fn source_traffic(
        &mut self,
        source: &SourceId,
        now: UnixSeconds,
        seconds_back: u64,
        judged_by: Option<Rules>,
    ) -> Result<Vec<Traffic>, StoreError> {
        let rows: Vec<TrafficRow> = sqlx::query_as(
            "SELECT verdict, reason, agent, address, CAST(sum(requests) AS BIGINT) AS requests, \
             max(span) AS last FROM traffic WHERE source = $1 AND span > $2 AND ($3 < 0 OR rules = $3) \
             GROUP BY verdict, reason, agent, address \
             ORDER BY requests DESC, verdict, reason, agent, address LIMIT 1000",
        )
        .bind(source.as_str())
        .bind(seconds(now.minus(seconds_back)))
        .bind(judged_by.map_or(OTHER_RULES, |rules| rules.version))
        .fetch_all(self.connection())
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Traffic {
                    verdict: verdict(&row.verdict)?,
                    reason: row.reason,
                    agent: row.agent,
                    address: row.address,
                    requests: number(row.requests, "traffic")?,
                    last: UnixSeconds(number(row.last, "traffic")?),
                })
            })
            .collect()
    }

    /// The rules that judge a source's requests now.
    pub(crate) async fn source_rules(&mut self, source: &SourceId) -> Result<Rules, StoreError> {
        let row: Option<(i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT s.rules_version, s.rules_since, COALESCE(a.rules_version, 0), COALESCE(a.rules_since, 0) \
             FROM sources s LEFT JOIN apps a ON a.id = s.app WHERE s.id = $1",
        )
        .bind(source.as_str())
        .fetch_optional(self.connection())
        .await?;
        let (version, since, app_version, app_since) = row.unwrap_or_default();
        // An app that was connected later than its rules changed counts from when it was connected.
        Ok(Rules {
            version: version.max(app_version),
            since: UnixSeconds(number(since.max(app_since), "sources")?),
        })
    }

    /// How many requests of a source, in spans that began since a time, were judged by other rules than these; without
    /// rules, all of them.
    pub(crate) async fn requests_not_judged(
        &mut self,
        source: &SourceId,
        since: UnixSeconds,
        rules: Option<Rules>,
    ) -> Result<u64, StoreError> {
        let requests: i64 = sqlx::query_scalar(
            "SELECT CAST(COALESCE(SUM(requests), 0) AS BIGINT) FROM traffic \
             WHERE source = $1 AND span > $2 AND ($3 < 0 OR rules <> $3)",
        )
        .bind(source.as_str())
        .bind(seconds(since))
        .bind(rules.map_or(OTHER_RULES, |rules| rules.version))
        .fetch_one(self.connection())
        .await?;
        number(requests, "traffic")
    }

    /// A workspace's requests span by span since a day before `now`, oldest first. A span in which nothing was
    /// counted is absent.
    pub(crate) async fn workspace_traffic(
        &mut self,
        workspace: &WorkspaceId,
        now: UnixSeconds,
    ) -> Result<Vec<SpanTraffic>, StoreError> {
        let rows: Vec<(i64, String, i64)> = sqlx::query_as(
            "SELECT span, verdict, requests FROM workspace_traffic WHERE workspace = $1 AND span > $2 \
             ORDER BY span, verdict",
        )
        .bind(workspace.as_str())
        .bind(seconds(now.minus(KEPT_S)))
        .fetch_all(self.connection())
        .await?;
        rows.into_iter()
            .map(|(span, word, requests)| {
                Ok(SpanTraffic {
                    begins: UnixSeconds(number(span, "traffic")?),
                    verdict: verdict(&word)?,
                    requests: number(requests, "traffic")?,
                })
            })
            .collect()
    }
}

impl WriteTx {
    /// Notes that the rules of a source change with the policy version of this transaction: what gateways counted before
    /// says nothing about the new ones.
    pub(crate) async fn change_source_rules(
        &mut self,
        source: &SourceId,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE sources SET rules_since = $2, \
             rules_version = (SELECT version FROM policy_version WHERE only_row = 1) WHERE id = $1",
        )
        .bind(source.as_str())
        .bind(seconds(now))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// The same for the keys or scopes of an app, and so for all sources that are connected to it.
    pub(crate) async fn change_app_rules(&mut self, app: &AppId, now: UnixSeconds) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE apps SET rules_since = $2, \
             rules_version = (SELECT version FROM policy_version WHERE only_row = 1) WHERE id = $1",
        )
        .bind(app.as_str())
        .bind(seconds(now))
        .execute(self.connection())
        .await?;
        Ok(())
    }
}
