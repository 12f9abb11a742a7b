-- What gateways counted of each source, in spans of five minutes. Rows older than a day are dropped.
CREATE TABLE traffic (
    source TEXT NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
    span BIGINT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('allow', 'deny', 'would_deny')),
    reason TEXT NOT NULL CHECK (length(reason) <= 64),
    agent TEXT NOT NULL CHECK (length(agent) <= 64),
    address TEXT NOT NULL CHECK (length(address) <= 64),
    requests BIGINT NOT NULL,
    PRIMARY KEY (source, span, verdict, reason, agent, address)
);
CREATE INDEX traffic_by_span ON traffic (span);
