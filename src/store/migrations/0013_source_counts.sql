-- How many sources of a workspace have each enforcement, kept in the transaction of each change, so that nobody has to
-- count them.
CREATE TABLE source_counts (
    workspace TEXT NOT NULL REFERENCES workspaces (id),
    enforcement TEXT NOT NULL CHECK (enforcement IN ('off', 'observe', 'on')),
    sources BIGINT NOT NULL,
    PRIMARY KEY (workspace, enforcement)
);
INSERT INTO source_counts (workspace, enforcement, sources)
    SELECT workspace, enforcement, COUNT(*) FROM sources GROUP BY workspace, enforcement;
