-- Tokens that were found in public. The token itself is never kept; its digest tells the same report again.
CREATE TABLE leaked_tokens (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    workspace TEXT NOT NULL REFERENCES workspaces (id),
    kind TEXT NOT NULL CHECK (kind IN ('access_token', 'api_token')),
    token_hash TEXT NOT NULL UNIQUE CHECK (length(token_hash) = 64),
    token_id TEXT NOT NULL CHECK (length(token_id) <= 256),
    owner TEXT NOT NULL CHECK (length(owner) <= 128),
    url TEXT NOT NULL CHECK (length(url) <= 2048),
    source TEXT NOT NULL CHECK (length(source) <= 64),
    reporter TEXT NOT NULL CHECK (length(reporter) <= 64),
    reported_at BIGINT NOT NULL,
    dismissed_at BIGINT
);
CREATE INDEX leaked_tokens_by_workspace ON leaked_tokens (workspace, id);
