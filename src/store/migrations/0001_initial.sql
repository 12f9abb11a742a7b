-- The schema. SQLite and PostgreSQL read the same text: times are Unix seconds in BIGINT, digests and keys are
-- base64url in TEXT, truth values are 0 or 1, and every text that a person or a client writes has a bound.

-- Policy: its version and the change feed.

-- One row. The version rises by one in the transaction of every change, so the sequence has no gaps.
CREATE TABLE policy_version (
    only_row BIGINT PRIMARY KEY CHECK (only_row = 1),
    version BIGINT NOT NULL,
    -- SHA-256 over all changes up to the version: two databases that share a version but not its changes differ in it.
    chain TEXT NOT NULL DEFAULT ''
);
INSERT INTO policy_version (only_row, version) VALUES (1, 0);

-- The change feed: what each version changed, as JSON for the gateways. The oldest rows are dropped.
CREATE TABLE policy_changes (
    version BIGINT PRIMARY KEY,
    body TEXT NOT NULL,
    at BIGINT NOT NULL,
    chain TEXT NOT NULL DEFAULT ''
);

-- One row. The latest time that the processes serving from this store trust to have passed. A clock that is behind it
-- at start is wrong. What expires only by a clock far ahead of it is kept for another day.
CREATE TABLE clock_mark (
    only_row BIGINT PRIMARY KEY CHECK (only_row = 1),
    trusted BIGINT NOT NULL
);
INSERT INTO clock_mark (only_row, trusted) VALUES (1, 0);

-- Workspaces, apps and sources.

-- Tokens issued before `not_issued_before` are revoked. `latest_cutoff` is the latest cutoff of any app or key of the
-- workspace.
CREATE TABLE workspaces (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
    created_at BIGINT NOT NULL,
    revision BIGINT NOT NULL DEFAULT 1,
    not_issued_before BIGINT NOT NULL DEFAULT 0,
    latest_cutoff BIGINT NOT NULL DEFAULT 0
);

-- `search` is the name in lower case. The index holds every column that a list is filtered by. `rules_version` and
-- `rules_since` are the policy version and the time at which the keys or the scopes of the app last changed.
CREATE TABLE apps (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    workspace TEXT NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
    scopes TEXT NOT NULL CHECK (length(scopes) BETWEEN 1 AND 1024),
    token_lifetime TEXT NOT NULL CHECK (token_lifetime IN ('1d', '2d', '3d', '1w', '2w', '3w', '30d')),
    not_issued_before BIGINT NOT NULL DEFAULT 0,
    revision BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL,
    search TEXT NOT NULL DEFAULT '',
    rules_version BIGINT NOT NULL DEFAULT 0,
    rules_since BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX apps_by_workspace ON apps (workspace, id, search);

CREATE TABLE app_keys (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    app TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
    pem TEXT NOT NULL CHECK (length(pem) <= 16384),
    thumbprint TEXT NOT NULL CHECK (length(thumbprint) = 43),
    algorithm TEXT NOT NULL CHECK (algorithm IN ('RS256', 'PS256', 'ES256', 'EdDSA')),
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    not_issued_before BIGINT NOT NULL DEFAULT 0,
    expires_at BIGINT,
    UNIQUE (app, thumbprint)
);

-- `rules_version` and `rules_since` are the policy version and the time at which the enforcement or the app of the
-- source last changed.
CREATE TABLE sources (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    workspace TEXT NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
    kind TEXT NOT NULL CHECK (kind IN ('http_api', 'nodejs', 'python', 'source_function', 'public_api')),
    write_key TEXT NOT NULL CHECK (length(write_key) BETWEEN 1 AND 512),
    write_key_digest TEXT NOT NULL UNIQUE CHECK (length(write_key_digest) = 22),
    enforcement TEXT NOT NULL CHECK (enforcement IN ('off', 'observe', 'on')),
    app TEXT REFERENCES apps (id),
    created_at BIGINT NOT NULL,
    revision BIGINT NOT NULL DEFAULT 1,
    search TEXT NOT NULL DEFAULT '',
    rules_version BIGINT NOT NULL DEFAULT 0,
    rules_since BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX sources_by_workspace ON sources (workspace, id, search, kind, enforcement, app);
CREATE INDEX sources_by_app ON sources (app, id);
CREATE INDEX sources_by_kind ON sources (workspace, kind, id);
CREATE INDEX sources_by_enforcement ON sources (workspace, enforcement, id);

-- How many sources of a workspace have each enforcement. Each change updates it in its own transaction, so that no
-- request has to count rows.
CREATE TABLE source_counts (
    workspace TEXT NOT NULL REFERENCES workspaces (id),
    enforcement TEXT NOT NULL CHECK (enforcement IN ('off', 'observe', 'on')),
    sources BIGINT NOT NULL,
    PRIMARY KEY (workspace, enforcement)
);

-- What gateways counted for each source, in spans of five minutes. Rows older than a day are dropped. `rules` is the
-- version of the rules that judged the requests, or -1 if those had changed before the report came.
CREATE TABLE traffic (
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
CREATE INDEX traffic_by_span ON traffic (span);

-- The same counts by workspace, so that a chart does not have to add up all of its sources.
CREATE TABLE workspace_traffic (
    workspace TEXT NOT NULL REFERENCES workspaces (id),
    span BIGINT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('allow', 'deny', 'would_deny')),
    requests BIGINT NOT NULL,
    PRIMARY KEY (workspace, span, verdict)
);
CREATE INDEX workspace_traffic_by_span ON workspace_traffic (span);

-- Tokens.

-- Signing keys. `secret` is PKCS#8, encrypted if `sealed_with` names an encryption key. A key signs new tokens from
-- `signs_from` until `signs_until`; the last token it signed expires at `ends_at`.
CREATE TABLE signing_keys (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    algorithm TEXT NOT NULL CHECK (algorithm IN ('RS256', 'PS256', 'ES256', 'EdDSA')),
    secret TEXT NOT NULL CHECK (length(secret) <= 16384),
    sealed_with TEXT CHECK (length(sealed_with) <= 64),
    public TEXT NOT NULL CHECK (length(public) <= 4096),
    created_at BIGINT NOT NULL,
    signs_from BIGINT NOT NULL,
    signs_until BIGINT,
    ends_at BIGINT
);

-- Replay protection: SHA-256 of the signed content of each client assertion, until the assertion expires.
CREATE TABLE used_assertions (
    digest TEXT PRIMARY KEY CHECK (length(digest) = 43),
    expires_at BIGINT NOT NULL
);
CREATE INDEX used_assertions_by_expiry ON used_assertions (expires_at);

-- How many tokens were issued, by app key, signing key, hour of issue and hour of expiry, and the latest `iat` of them.
CREATE TABLE issued_tokens (
    app TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    app_key TEXT NOT NULL REFERENCES app_keys (id) ON DELETE CASCADE,
    signing_key TEXT NOT NULL REFERENCES signing_keys (id) ON DELETE CASCADE,
    issued_hour BIGINT NOT NULL,
    expires_hour BIGINT NOT NULL,
    issued BIGINT NOT NULL,
    latest_issued_at BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (app, app_key, signing_key, issued_hour, expires_hour)
);
CREATE INDEX issued_tokens_by_key ON issued_tokens (app_key);
CREATE INDEX issued_tokens_by_signing_key ON issued_tokens (signing_key);
CREATE INDEX issued_tokens_by_expiry ON issued_tokens (expires_hour);
CREATE INDEX issued_tokens_by_issue ON issued_tokens (issued_hour);

-- Tokens revoked one by one. `app_key` and `issued_hour` are unknown if only the token id was given; with them, the
-- token is subtracted from the count of live tokens.
CREATE TABLE revocations (
    issuer TEXT NOT NULL CHECK (length(issuer) <= 2048),
    token_id TEXT NOT NULL CHECK (length(token_id) <= 256),
    expires_at BIGINT NOT NULL,
    app TEXT NOT NULL CHECK (length(app) <= 128),
    at BIGINT NOT NULL,
    reason TEXT NOT NULL CHECK (length(reason) <= 256),
    app_key TEXT,
    issued_hour BIGINT,
    PRIMARY KEY (issuer, token_id)
);
CREATE INDEX revocations_by_app ON revocations (app, expires_at);
-- Every column of a revocation that a snapshot contains, in the order in which it is read.
CREATE INDEX revocations_by_expiry ON revocations (expires_at, issuer, token_id);

-- Tokens that were found in public. The token is never stored; its digest recognises a repeated report.
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
CREATE INDEX leaked_tokens_by_dismissal ON leaked_tokens (dismissed_at) WHERE dismissed_at IS NOT NULL;
CREATE INDEX leaked_tokens_undismissed ON leaked_tokens (workspace, id) WHERE dismissed_at IS NULL;

-- Accounts, members and credentials.

-- A person. `verified_at` is when they proved, at a provider or to the operator, that the address is theirs. An
-- address has at most one verified account. It may have any number of unverified ones, each with one membership.
CREATE TABLE accounts (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    email TEXT NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    password_hash TEXT CHECK (length(password_hash) <= 512),
    created_at BIGINT NOT NULL,
    verified_at BIGINT
);
CREATE UNIQUE INDEX accounts_verified ON accounts (email) WHERE verified_at IS NOT NULL;
CREATE INDEX accounts_by_email ON accounts (email, password_hash);

-- A membership of one workspace. It counts from `joined_at`; before that the person is only invited.
CREATE TABLE members (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    workspace TEXT NOT NULL REFERENCES workspaces (id),
    account TEXT NOT NULL REFERENCES accounts (id),
    revision BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL,
    joined_at BIGINT,
    UNIQUE (workspace, account)
);
CREATE INDEX members_by_workspace ON members (workspace, id);
CREATE INDEX members_by_account ON members (account, workspace);

-- Roles of members. `resource` is a source's id, or `*` for every resource of the role.
CREATE TABLE grants (
    member TEXT NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('workspace_owner', 'workspace_member', 'source_admin',
        'source_read_only', 'function_admin', 'function_read_only')),
    resource TEXT NOT NULL CHECK (length(resource) <= 128),
    PRIMARY KEY (member, role, resource)
);
CREATE INDEX grants_by_resource ON grants (resource);

-- Invitations: the hash of a secret that was shown once and lets the invited person join.
CREATE TABLE invitations (
    member TEXT PRIMARY KEY REFERENCES members (id) ON DELETE CASCADE,
    hash TEXT NOT NULL UNIQUE CHECK (length(hash) = 43),
    expires_at BIGINT NOT NULL
);

-- API tokens of members. `prefix` is the part of the token that a list shows.
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
CREATE INDEX api_tokens_by_member ON api_tokens (member, id);

-- Signed-in browsers. `hash` is the SHA-256 of the cookie's secret.
CREATE TABLE sessions (
    hash TEXT PRIMARY KEY CHECK (length(hash) = 43),
    id TEXT NOT NULL UNIQUE CHECK (length(id) <= 128),
    account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    method TEXT NOT NULL CHECK (method IN ('password', 'oidc')),
    user_agent TEXT NOT NULL CHECK (length(user_agent) <= 256),
    address TEXT NOT NULL CHECK (length(address) <= 64)
);
CREATE INDEX sessions_by_account ON sessions (account, created_at, id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_by_last_seen ON sessions (last_seen_at);

-- Browsers from which an account has signed in before. Their sign-ins have a rate limit of their own.
CREATE TABLE known_browsers (
    hash TEXT PRIMARY KEY CHECK (length(hash) = 43),
    account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL
);
CREATE INDEX known_browsers_by_account ON known_browsers (account, expires_at);
CREATE INDEX known_browsers_by_expiry ON known_browsers (expires_at);

-- Sign-ons in progress at an OpenID provider, by the hash of their `state`.
CREATE TABLE sign_ons (
    state_hash TEXT PRIMARY KEY CHECK (length(state_hash) = 43),
    expires_at BIGINT NOT NULL
);
CREATE INDEX sign_ons_by_expiry ON sign_ons (expires_at);

-- The account of each subject (`sub`) of an OpenID provider. An account has at most one subject at a provider.
CREATE TABLE identities (
    issuer TEXT NOT NULL CHECK (length(issuer) <= 2048),
    subject TEXT NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    PRIMARY KEY (issuer, subject),
    UNIQUE (issuer, account)
);
CREATE INDEX identities_by_account ON identities (account);

-- Idempotency keys: which resource the first request made. The response is not stored, so no secret of it is here.
CREATE TABLE idempotency_keys (
    digest TEXT PRIMARY KEY CHECK (length(digest) = 43),
    member TEXT NOT NULL CHECK (length(member) <= 128),
    body_digest TEXT NOT NULL CHECK (length(body_digest) = 43),
    resource_id TEXT NOT NULL CHECK (length(resource_id) <= 128),
    expires_at BIGINT NOT NULL
);
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);
CREATE INDEX idempotency_keys_by_member ON idempotency_keys (member);

-- Audit trail.

-- One row for each audit event. `hash` is over the hash of the row before and all columns of this row.
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
CREATE INDEX audit_events_by_actor_name ON audit_events (workspace, actor_name, at, position);
CREATE INDEX audit_events_by_resource_type ON audit_events (workspace, resource_type, at, position);

-- One row: the newest event, the last event that was dropped for its age, and whether the trail records such drops.
CREATE TABLE audit_chain (
    only_row BIGINT PRIMARY KEY CHECK (only_row = 1),
    newest_position BIGINT NOT NULL,
    newest_hash TEXT NOT NULL,
    dropped_position BIGINT NOT NULL,
    dropped_hash TEXT NOT NULL,
    drops_recorded BIGINT NOT NULL DEFAULT 0
);
INSERT INTO audit_chain (only_row, newest_position, newest_hash, dropped_position, dropped_hash)
    VALUES (1, 0, '', 0, '');

-- Enrolled edges: each has a key pair, and the store has its public half.
CREATE TABLE edges (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
    public_key TEXT NOT NULL CHECK (length(public_key) = 43),
    -- The key that replaces it, until it is used for the first time.
    next_key TEXT CHECK (length(next_key) = 43),
    rotate BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
-- The name of a revoked edge may be given to another one.
CREATE UNIQUE INDEX edges_by_name ON edges (name) WHERE revoked_at IS NULL;

-- One row. What every control plane on this store tells its gateways alike; empty until a config says.
CREATE TABLE fleet_settings (
    only_row BIGINT PRIMARY KEY CHECK (only_row = 1),
    audience TEXT CHECK (length(audience) BETWEEN 1 AND 1024),
    max_age_s BIGINT CHECK (max_age_s > 0)
);
INSERT INTO fleet_settings (only_row) VALUES (1);

-- Join tokens that were not used yet, by their hashes.
CREATE TABLE edge_join_tokens (
    hash TEXT PRIMARY KEY CHECK (length(hash) = 43),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
    expires_at BIGINT NOT NULL
);

-- Running processes of edges, as the control plane that serves each one knows them. Written before an instance learns
-- for the first time that its policy is current, so that a control plane that restarts knows who may be serving.
CREATE TABLE edge_instances (
    id TEXT PRIMARY KEY CHECK (length(id) <= 64),
    edge TEXT NOT NULL REFERENCES edges (id) ON DELETE CASCADE,
    control_plane TEXT NOT NULL CHECK (length(control_plane) <= 64),
    build TEXT NOT NULL CHECK (length(build) <= 64),
    version BIGINT NOT NULL,
    heard_at BIGINT NOT NULL,
    -- No earlier than the instance's lease ends.
    lapses_at BIGINT NOT NULL,
    unbounded BIGINT NOT NULL,
    refused TEXT CHECK (length(refused) <= 512)
);
CREATE INDEX edge_instances_by_edge ON edge_instances (edge);
