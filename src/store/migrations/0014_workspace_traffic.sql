-- The requests of a workspace by span, kept as they are counted, so that a chart does not add up all of its sources.
CREATE TABLE workspace_traffic (
    workspace TEXT NOT NULL REFERENCES workspaces (id),
    span BIGINT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('allow', 'deny', 'would_deny')),
    requests BIGINT NOT NULL,
    PRIMARY KEY (workspace, span, verdict)
);
CREATE INDEX workspace_traffic_by_span ON workspace_traffic (span);
INSERT INTO workspace_traffic (workspace, span, verdict, requests)
    SELECT s.workspace, t.span, t.verdict, CAST(SUM(t.requests) AS BIGINT)
    FROM traffic t JOIN sources s ON s.id = t.source GROUP BY s.workspace, t.span, t.verdict;
