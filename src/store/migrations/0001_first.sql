-- The first schema. SQLite and PostgreSQL read the same text: moments are Unix seconds in BIGINT, digests
-- and keys are base64url in TEXT, and every text that a person or a client writes has a bound.

-- One row. It rises by one in the transaction of every change, so the sequence has no gaps.
CREATE TABLE policy_version (
    only_row BIGINT PRIMARY KEY CHECK (only_row = 1),
    version BIGINT NOT NULL
);
INSERT INTO policy_version (only_row, version) VALUES (1, 0);

-- What each version changed, as the gateways are told it (JSON). The oldest rows are dropped.
CREATE TABLE policy_changes (
    version BIGINT PRIMARY KEY,
    body TEXT NOT NULL,
    at BIGINT NOT NULL
);

CREATE TABLE workspaces (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
    created_at BIGINT NOT NULL
);

CREATE TABLE apps (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    workspace TEXT NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
    scopes TEXT NOT NULL CHECK (length(scopes) BETWEEN 1 AND 1024),
    token_lifetime TEXT NOT NULL CHECK (token_lifetime IN ('1d', '2d', '3d', '1w', '2w', '3w', '30d')),
    not_issued_before BIGINT NOT NULL DEFAULT 0,
    revision BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL
);
CREATE INDEX apps_by_workspace ON apps (workspace, id);

CREATE TABLE app_keys (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    app TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
    pem TEXT NOT NULL CHECK (length(pem) <= 16384),
    thumbprint TEXT NOT NULL CHECK (length(thumbprint) = 43),
    algorithm TEXT NOT NULL CHECK (algorithm IN ('RS256', 'PS256', 'ES256', 'EdDSA')),
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    UNIQUE (app, thumbprint)
);

CREATE TABLE sources (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    workspace TEXT NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
    kind TEXT NOT NULL CHECK (kind IN ('http_api', 'nodejs', 'python', 'source_function', 'public_api')),
    write_key TEXT NOT NULL CHECK (length(write_key) BETWEEN 1 AND 512),
    write_key_digest TEXT NOT NULL UNIQUE CHECK (length(write_key_digest) = 22),
    enforcement TEXT NOT NULL CHECK (enforcement IN ('off', 'observe', 'on')),
    app TEXT REFERENCES apps (id),
    created_at BIGINT NOT NULL
);
CREATE INDEX sources_by_workspace ON sources (workspace, id);
CREATE INDEX sources_by_app ON sources (app, id);

-- One person's membership of one workspace. `account` is the person: it is never set from what a request
-- says, so that nobody gets into a workspace by claiming somebody's e-mail address.
CREATE TABLE members (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    workspace TEXT NOT NULL REFERENCES workspaces (id),
    account TEXT NOT NULL CHECK (length(account) <= 128),
    email TEXT NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    role TEXT NOT NULL CHECK (length(role) <= 64),
    password_hash TEXT CHECK (length(password_hash) <= 512),
    created_at BIGINT NOT NULL,
    UNIQUE (workspace, account),
    UNIQUE (workspace, email)
);
CREATE INDEX members_by_account ON members (account, workspace);

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

CREATE TABLE signing_keys (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    algorithm TEXT NOT NULL CHECK (algorithm IN ('RS256', 'PS256', 'ES256', 'EdDSA')),
    pkcs8 TEXT NOT NULL CHECK (length(pkcs8) <= 16384),
    active BIGINT NOT NULL CHECK (active IN (0, 1)),
    created_at BIGINT NOT NULL
);

-- SHA-256 of what each client assertion signed, until it can no longer be used.
CREATE TABLE used_assertions (
    digest TEXT PRIMARY KEY CHECK (length(digest) = 43),
    expires_at BIGINT NOT NULL
);
CREATE INDEX used_assertions_by_expiry ON used_assertions (expires_at);

CREATE TABLE revocations (
    issuer TEXT NOT NULL CHECK (length(issuer) <= 2048),
    token_id TEXT NOT NULL CHECK (length(token_id) <= 256),
    expires_at BIGINT NOT NULL,
    app TEXT NOT NULL CHECK (length(app) <= 128),
    at BIGINT NOT NULL,
    reason TEXT NOT NULL CHECK (length(reason) <= 256),
    PRIMARY KEY (issuer, token_id)
);
CREATE INDEX revocations_by_expiry ON revocations (expires_at);
