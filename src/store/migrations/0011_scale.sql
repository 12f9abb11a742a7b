-- What stays quick among a million sources, apps and revocations.

-- The latest moment at which tokens of any app or key of a workspace were ended.
ALTER TABLE workspaces ADD COLUMN latest_moment BIGINT NOT NULL DEFAULT 0;
UPDATE workspaces SET latest_moment = COALESCE(
    (SELECT MAX(CASE WHEN k.not_issued_before > a.not_issued_before THEN k.not_issued_before
                     ELSE a.not_issued_before END)
     FROM apps a LEFT JOIN app_keys k ON k.app = a.id WHERE a.workspace = workspaces.id), 0);

-- All that a snapshot says of a revocation, in the order in which it is read.
DROP INDEX revocations_by_expiry;
CREATE INDEX revocations_by_expiry ON revocations (expires_at, issuer, token_id);

-- A page of one enforcement, in order.
DROP INDEX sources_by_enforcement;
CREATE INDEX sources_by_enforcement ON sources (workspace, enforcement, id);

-- Events that few of many are.
CREATE INDEX audit_events_by_actor_name ON audit_events (workspace, actor_name, at, position);
CREATE INDEX audit_events_by_resource_type ON audit_events (workspace, resource_type, at, position);

CREATE INDEX leaked_tokens_undismissed ON leaked_tokens (workspace, id) WHERE dismissed_at IS NULL;
