//! Edges, the join tokens that enrol them, and their running instances.

use sqlx::FromRow;

use super::database::{ReadTx, Store, WriteTx};
use super::error::StoreError;
use super::rows::{all, moment, number, parameters, seconds};
use crate::domain::ids::EdgeId;
use crate::domain::name::Name;
use crate::domain::time::UnixSeconds;
use crate::model::edge::{Edge, EdgeInstance, FleetSettings};

const EDGES: &str = "edges";
const INSTANCES: &str = "edge_instances";

/// The columns of an edge.
const EDGE_COLUMNS: &str = "id, name, public_key, next_key, rotate, created_at, revoked_at";

/// Instances written in one statement.
const INSTANCES_AT_ONCE: usize = 1_000;

#[derive(FromRow)]
struct EdgeRow {
    id: String,
    name: String,
    public_key: String,
    next_key: Option<String>,
    rotate: i64,
    created_at: i64,
    revoked_at: Option<i64>,
}

impl TryFrom<EdgeRow> for Edge {
    type Error = StoreError;

    fn try_from(row: EdgeRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: EdgeId::parse(&row.id).map_err(|_| StoreError::Corrupted(EDGES))?,
            name: Name::kept(&row.name).map_err(|_| StoreError::Corrupted(EDGES))?,
            public_key: row.public_key,
            next_key: row.next_key,
            rotate: row.rotate != 0,
            created_at: moment(row.created_at, EDGES)?,
            revoked_at: row.revoked_at.map(|at| moment(at, EDGES)).transpose()?,
        })
    }
}

#[derive(FromRow)]
struct InstanceRow {
    id: String,
    edge: String,
    control_plane: String,
    build: String,
    version: i64,
    heard_at: i64,
    lapses_at: i64,
    unbounded: i64,
    refused: Option<String>,
}

impl TryFrom<InstanceRow> for EdgeInstance {
    type Error = StoreError;

    fn try_from(row: InstanceRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            edge: EdgeId::parse(&row.edge).map_err(|_| StoreError::Corrupted(INSTANCES))?,
            control_plane: row.control_plane,
            build: row.build,
            version: number(row.version, INSTANCES)?,
            heard_at: moment(row.heard_at, INSTANCES)?,
            lapses_at: moment(row.lapses_at, INSTANCES)?,
            unbounded: row.unbounded != 0,
            refused: row.refused,
        })
    }
}

impl ReadTx {
    /// Every edge, revoked ones included, in the order of their enrolment.
    pub(crate) async fn edges(&mut self) -> Result<Vec<Edge>, StoreError> {
        let rows: Vec<EdgeRow> = sqlx::query_as(
            "SELECT id, name, public_key, next_key, rotate, created_at, revoked_at FROM edges ORDER BY id",
        )
        .fetch_all(self.connection())
        .await?;
        all(rows)
    }

    /// How many edges and unused join tokens there are.
    pub(crate) async fn edge_count(&mut self) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar(
            "SELECT (SELECT COUNT(*) FROM edges) + (SELECT COUNT(*) FROM edge_join_tokens)",
        )
        .fetch_one(self.connection())
        .await?;
        number(count, EDGES)
    }

    /// One edge by its id.
    pub(crate) async fn edge(&mut self, id: &EdgeId) -> Result<Option<Edge>, StoreError> {
        let statement = format!("SELECT {EDGE_COLUMNS} FROM edges WHERE id = $1");
        let row: Option<EdgeRow> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
            .bind(id.as_str())
            .fetch_optional(self.connection())
            .await?;
        row.map(Edge::try_from).transpose()
    }

    /// One edge by its name, unless it was revoked.
    pub(crate) async fn edge_named(&mut self, name: &str) -> Result<Option<Edge>, StoreError> {
        let statement = format!("SELECT {EDGE_COLUMNS} FROM edges WHERE name = $1 AND revoked_at IS NULL");
        let row: Option<EdgeRow> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
            .bind(name)
            .fetch_optional(self.connection())
            .await?;
        row.map(Edge::try_from).transpose()
    }

    /// What is stored of the fleet's settings.
    pub(crate) async fn fleet_settings(&mut self) -> Result<FleetSettings, StoreError> {
        let (audience, max_age_s): (Option<String>, Option<i64>) =
            sqlx::query_as("SELECT audience, max_age_s FROM fleet_settings WHERE only_row = 1")
                .fetch_one(self.connection())
                .await?;
        Ok(FleetSettings {
            audience,
            max_age_s: max_age_s.map(|age| number(age, "fleet_settings")).transpose()?,
        })
    }

    /// One instance by its id.
    pub(crate) async fn edge_instance(&mut self, id: &str) -> Result<Option<EdgeInstance>, StoreError> {
        let row: Option<InstanceRow> = sqlx::query_as(
            "SELECT id, edge, control_plane, build, version, heard_at, lapses_at, unbounded, refused \
             FROM edge_instances WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(self.connection())
        .await?;
        row.map(EdgeInstance::try_from).transpose()
    }

    /// Every instance, lapsed ones included.
    pub(crate) async fn edge_instances(&mut self) -> Result<Vec<EdgeInstance>, StoreError> {
        let rows: Vec<InstanceRow> = sqlx::query_as(
            "SELECT id, edge, control_plane, build, version, heard_at, lapses_at, unbounded, refused \
             FROM edge_instances ORDER BY id",
        )
        .fetch_all(self.connection())
        .await?;
        all(rows)
    }
}

impl WriteTx {
    pub(crate) async fn insert_join_token(
        &mut self,
        hash: &str,
        name: &str,
        expires_at: UnixSeconds,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO edge_join_tokens (hash, name, expires_at) VALUES ($1, $2, $3)")
            .bind(hash)
            .bind(name)
            .bind(seconds(expires_at))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Uses up a join token. Answers the name that it enrols, unless it is unknown or has expired.
    pub(crate) async fn take_join_token(
        &mut self,
        hash: &str,
        now: UnixSeconds,
    ) -> Result<Option<String>, StoreError> {
        sqlx::query("DELETE FROM edge_join_tokens WHERE expires_at <= $1")
            .bind(seconds(now))
            .execute(self.connection())
            .await?;
        Ok(
            sqlx::query_scalar("DELETE FROM edge_join_tokens WHERE hash = $1 RETURNING name")
                .bind(hash)
                .fetch_optional(self.connection())
                .await?,
        )
    }

    pub(crate) async fn insert_edge(&mut self, edge: &Edge) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO edges (id, name, public_key, created_at) VALUES ($1, $2, $3, $4)")
            .bind(edge.id.as_str())
            .bind(edge.name.as_str())
            .bind(edge.public_key.as_str())
            .bind(seconds(edge.created_at))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Replaces the fleet's settings.
    pub(crate) async fn put_fleet_settings(&mut self, settings: &FleetSettings) -> Result<(), StoreError> {
        sqlx::query("UPDATE fleet_settings SET audience = $1, max_age_s = $2 WHERE only_row = 1")
            .bind(settings.audience.as_deref())
            .bind(
                settings
                    .max_age_s
                    .map(|age| i64::try_from(age).unwrap_or(i64::MAX)),
            )
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Stores everything of an edge that may change.
    pub(crate) async fn update_edge(&mut self, edge: &Edge) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE edges SET name = $2, public_key = $3, next_key = $4, rotate = $5, revoked_at = $6 WHERE id = $1",
        )
        .bind(edge.id.as_str())
        .bind(edge.name.as_str())
        .bind(edge.public_key.as_str())
        .bind(edge.next_key.as_deref())
        .bind(i64::from(edge.rotate))
        .bind(edge.revoked_at.map(seconds))
        .execute(self.connection())
        .await?;
        Ok(())
    }
}

impl Store {
    /// Stores the settings that the store does not have yet, and returns what it has then.
    pub(crate) async fn keep_fleet_settings(
        &self,
        said: &FleetSettings,
    ) -> Result<FleetSettings, StoreError> {
        let _turn = self.ledger_turn().await;
        let (audience, max_age_s): (Option<String>, Option<i64>) = sqlx::query_as(
            "UPDATE fleet_settings SET audience = COALESCE(audience, $1), max_age_s = COALESCE(max_age_s, $2) \
             WHERE only_row = 1 RETURNING audience, max_age_s",
        )
        .bind(said.audience.as_deref())
        .bind(said.max_age_s.map(|age| i64::try_from(age).unwrap_or(i64::MAX)))
        .fetch_one(&self.ledger)
        .await?;
        Ok(FleetSettings {
            audience,
            max_age_s: max_age_s.map(|age| number(age, "fleet_settings")).transpose()?,
        })
    }

    /// Writes instances down as they are now, many in a statement. One that another control plane
    /// heard later, or that is another edge's, stays as it is.
    pub(crate) async fn put_edge_instances(&self, instances: &[EdgeInstance]) -> Result<(), StoreError> {
        for part in instances.chunks(INSTANCES_AT_ONCE) {
            let rows: Vec<String> = (0..part.len())
                .map(|at| format!("({})", parameters(at * 9 + 1, 9)))
                .collect();
            let statement = format!(
                "INSERT INTO edge_instances (id, edge, control_plane, build, version, heard_at, lapses_at, unbounded, \
                 refused) VALUES {} ON CONFLICT (id) DO UPDATE SET \
                 control_plane = excluded.control_plane, build = excluded.build, version = excluded.version, \
                 heard_at = excluded.heard_at, lapses_at = excluded.lapses_at, unbounded = excluded.unbounded, \
                 refused = excluded.refused \
                 WHERE edge_instances.edge = excluded.edge AND edge_instances.heard_at <= excluded.heard_at",
                rows.join(", ")
            );
            let mut query = sqlx::query(sqlx::AssertSqlSafe(statement));
            for instance in part {
                query = query
                    .bind(instance.id.as_str())
                    .bind(instance.edge.as_str())
                    .bind(instance.control_plane.as_str())
                    .bind(instance.build.as_str())
                    .bind(i64::try_from(instance.version).unwrap_or(i64::MAX))
                    .bind(seconds(instance.heard_at))
                    .bind(seconds(instance.lapses_at))
                    .bind(i64::from(instance.unbounded))
                    .bind(instance.refused.as_deref());
            }
            let _turn = self.ledger_turn().await;
            query.execute(&self.ledger).await?;
        }
        Ok(())
    }

    /// Deletes an instance that ended, and those whose lease ended before a moment.
    pub(crate) async fn delete_edge_instances(
        &self,
        id: Option<&str>,
        lapsed_before: UnixSeconds,
    ) -> Result<(), StoreError> {
        let _turn = self.ledger_turn().await;
        sqlx::query("DELETE FROM edge_instances WHERE id = $1 OR lapses_at < $2")
            .bind(id.unwrap_or_default())
            .bind(seconds(lapsed_before))
            .execute(&self.ledger)
            .await?;
        Ok(())
    }
}
