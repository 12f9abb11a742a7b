-- Which rules judged the requests that gateways counted.

-- The policy version and the time at which the rules of a source last changed: its enforcement or its app; and those of
-- an app: its keys or its scopes.
ALTER TABLE sources ADD COLUMN rules_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sources ADD COLUMN rules_since BIGINT NOT NULL DEFAULT 0;
ALTER TABLE apps ADD COLUMN rules_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE apps ADD COLUMN rules_since BIGINT NOT NULL DEFAULT 0;
UPDATE sources SET rules_since = created_at;
UPDATE apps SET rules_since = created_at;

-- `rules` is the version of the rules that judged the requests, or -1 if those had changed before the report came.
CREATE TABLE traffic_by_rules (
    source TEXT NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
    span BIGINT NOT NULL,
    rules BIGINT NOT NULL DEFAULT -1,
    verdict TEXT NOT NULL CHECK (verdict IN ('allow', 'deny', 'would_deny')),
    reason TEXT NOT NULL CHECK (length(reason) <= 64),
    agent TEXT NOT NULL CHECK (length(agent) <= 64),
    address TEXT NOT NULL CHECK (length(address) <= 64),
    requests BIGINT NOT NULL,
    PRIMARY KEY (source, span, rules, verdict, reason, agent, address)
);
INSERT INTO traffic_by_rules (source, span, rules, verdict, reason, agent, address, requests)
    SELECT source, span, -1, verdict, reason, agent, address, requests FROM traffic;
DROP TABLE traffic;
ALTER TABLE traffic_by_rules RENAME TO traffic;
CREATE INDEX traffic_by_span ON traffic (span);
