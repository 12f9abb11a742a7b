-- People apart from their memberships, what each member may do, and the audit trail.

-- A person, whatever workspaces they belong to. The address is normalised: one person, one row. Whoever proves
-- to be this person gets every membership that has been joined, so nothing but a proof may set what proves it.
CREATE TABLE accounts (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    email TEXT NOT NULL UNIQUE CHECK (length(email) BETWEEN 3 AND 254),
    password_hash TEXT CHECK (length(password_hash) <= 512),
    created_at BIGINT NOT NULL
);
INSERT INTO accounts (id, email, password_hash, created_at)
    SELECT MIN(m.account), m.email,
        (SELECT MIN(p.password_hash) FROM members p
            WHERE p.email = m.email AND p.account = (SELECT MIN(f.account) FROM members f WHERE f.email = m.email)),
        MIN(m.created_at)
    FROM members m GROUP BY m.email;

ALTER TABLE members RENAME TO members_before;
ALTER TABLE api_tokens RENAME TO api_tokens_before;

-- One person's membership of one workspace. It counts from the moment they joined: until then somebody has
-- invited them, which proves nothing about who reads the invitation.
CREATE TABLE members (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    workspace TEXT NOT NULL REFERENCES workspaces (id),
    account TEXT NOT NULL REFERENCES accounts (id),
    revision BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL,
    joined_at BIGINT,
    UNIQUE (workspace, account)
);
INSERT INTO members (id, workspace, account, created_at, joined_at)
    SELECT m.id, m.workspace, a.id, m.created_at, m.created_at
    FROM members_before m JOIN accounts a ON a.email = m.email;

-- What a member may do. `resource` is a source's id, or `*` for all that the role reaches.
CREATE TABLE grants (
    member TEXT NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('workspace_owner', 'workspace_member', 'source_admin',
        'source_read_only', 'function_admin', 'function_read_only')),
    resource TEXT NOT NULL CHECK (length(resource) <= 128),
    PRIMARY KEY (member, role, resource)
);
INSERT INTO grants (member, role, resource) SELECT id, role, '*' FROM members_before;

CREATE TABLE api_tokens (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    member TEXT NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
    hash TEXT NOT NULL UNIQUE CHECK (length(hash) = 43),
    prefix TEXT NOT NULL CHECK (length(prefix) <= 16),
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    expires_at BIGINT
);
INSERT INTO api_tokens (id, member, name, hash, prefix, created_at, last_used_at, expires_at)
    SELECT id, member, name, hash, prefix, created_at, last_used_at, expires_at FROM api_tokens_before;

DROP TABLE api_tokens_before;
DROP TABLE members_before;
CREATE INDEX members_by_workspace ON members (workspace, id);
CREATE INDEX members_by_account ON members (account, workspace);
CREATE INDEX api_tokens_by_member ON api_tokens (member, id);

ALTER TABLE workspaces ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;
ALTER TABLE sources ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;
CREATE INDEX sources_by_kind ON sources (workspace, kind, id);

-- What was changed, by whom. Each row's hash is over the hash before it and everything the row says.
CREATE TABLE audit_events (
    position BIGINT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE CHECK (length(id) <= 128),
    workspace TEXT CHECK (length(workspace) <= 128),
    at BIGINT NOT NULL,
    action TEXT NOT NULL CHECK (length(action) <= 64),
    actor_type TEXT NOT NULL CHECK (length(actor_type) <= 16),
    actor_id TEXT NOT NULL CHECK (length(actor_id) <= 128),
    actor_name TEXT NOT NULL CHECK (length(actor_name) <= 256),
    address TEXT CHECK (length(address) <= 64),
    resource_type TEXT NOT NULL CHECK (length(resource_type) <= 32),
    resource_id TEXT NOT NULL CHECK (length(resource_id) <= 128),
    resource_name TEXT NOT NULL CHECK (length(resource_name) <= 256),
    changed_from TEXT,
    changed_to TEXT,
    hash TEXT NOT NULL CHECK (length(hash) = 43)
);
CREATE INDEX audit_events_by_time ON audit_events (workspace, at, position);
CREATE INDEX audit_events_by_actor ON audit_events (workspace, actor_id, at, position);
CREATE INDEX audit_events_by_action ON audit_events (workspace, action, at, position);
CREATE INDEX audit_events_by_resource ON audit_events (workspace, resource_id, at, position);

-- One row: where the trail ends, and the event before the oldest one that is still kept.
CREATE TABLE audit_chain (
    only_row BIGINT PRIMARY KEY CHECK (only_row = 1),
    newest_position BIGINT NOT NULL,
    newest_hash TEXT NOT NULL,
    dropped_position BIGINT NOT NULL,
    dropped_hash TEXT NOT NULL
);
INSERT INTO audit_chain (only_row, newest_position, newest_hash, dropped_position, dropped_hash)
    VALUES (1, 0, '', 0, '');
