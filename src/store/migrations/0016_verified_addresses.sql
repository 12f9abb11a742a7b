-- Accounts whose address is verified, and accounts whose address is not. An address has at most one of the first
-- kind and any number of the second, each of which has one membership.
--
-- The address was unique until now. SQLite drops no such constraint, so the table is made again, and with it
-- every table that refers to it.
ALTER TABLE accounts RENAME TO accounts_before;
ALTER TABLE members RENAME TO members_before;
ALTER TABLE grants RENAME TO grants_before;
ALTER TABLE api_tokens RENAME TO api_tokens_before;
ALTER TABLE invitations RENAME TO invitations_before;
ALTER TABLE sessions RENAME TO sessions_before;
ALTER TABLE known_browsers RENAME TO known_browsers_before;
ALTER TABLE identities RENAME TO identities_before;

-- A person as this server tells them apart. `verified_at` is when they proved that the address is theirs: at a
-- provider, or to the operator.
CREATE TABLE accounts (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    email TEXT NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    password_hash TEXT CHECK (length(password_hash) <= 512),
    created_at BIGINT NOT NULL,
    verified_at BIGINT
);

-- Verified are those who signed on at a provider, those whom the operator made a member as the trail says, and the
-- store's first account, which only the operator can have made.
INSERT INTO accounts (id, email, password_hash, created_at, verified_at)
    SELECT a.id, a.email, a.password_hash, a.created_at,
        CASE
            WHEN EXISTS (SELECT 1 FROM identities_before i WHERE i.account = a.id) THEN a.created_at
            WHEN EXISTS (SELECT 1 FROM members_before m
                JOIN audit_events e ON e.workspace = m.workspace AND e.resource_id = m.id
                WHERE m.account = a.id AND e.action = 'member.added' AND e.actor_type = 'system') THEN a.created_at
            WHEN a.id = (SELECT f.id FROM accounts_before f ORDER BY f.created_at, f.id LIMIT 1) THEN a.created_at
        END
    FROM accounts_before a;

-- A password that was set before its person joined anything may be anybody's.
UPDATE accounts SET password_hash = NULL WHERE verified_at IS NULL AND NOT EXISTS
    (SELECT 1 FROM members_before m WHERE m.account = accounts.id AND m.joined_at IS NOT NULL);

-- An invitation that is open gets an account of its own, and so does each further membership of an account whose
-- address is not verified: with the password that it was joined with, and without what it could reach elsewhere.
INSERT INTO accounts (id, email, password_hash, created_at)
    SELECT 'acc_' || m.id, a.email, CASE WHEN m.joined_at IS NULL THEN NULL ELSE a.password_hash END, m.created_at
    FROM members_before m JOIN accounts a ON a.id = m.account
    WHERE (a.verified_at IS NOT NULL AND m.joined_at IS NULL)
        OR (a.verified_at IS NULL AND m.id <> COALESCE(
            (SELECT MIN(j.id) FROM members_before j WHERE j.account = m.account AND j.joined_at IS NOT NULL),
            (SELECT MIN(j.id) FROM members_before j WHERE j.account = m.account)));

CREATE TABLE members (
    id TEXT PRIMARY KEY CHECK (length(id) <= 128),
    workspace TEXT NOT NULL REFERENCES workspaces (id),
    account TEXT NOT NULL REFERENCES accounts (id),
    revision BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL,
    joined_at BIGINT,
    UNIQUE (workspace, account)
);
INSERT INTO members (id, workspace, account, revision, created_at, joined_at)
    SELECT m.id, m.workspace, COALESCE((SELECT a.id FROM accounts a WHERE a.id = 'acc_' || m.id), m.account),
        m.revision, m.created_at, m.joined_at
    FROM members_before m;

CREATE TABLE grants (
    member TEXT NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('workspace_owner', 'workspace_member', 'source_admin',
        'source_read_only', 'function_admin', 'function_read_only')),
    resource TEXT NOT NULL CHECK (length(resource) <= 128),
    PRIMARY KEY (member, role, resource)
);
INSERT INTO grants (member, role, resource) SELECT member, role, resource FROM grants_before;

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

-- An invitation checks no password of anybody any more, so that nothing is left to count.
CREATE TABLE invitations (
    member TEXT PRIMARY KEY REFERENCES members (id) ON DELETE CASCADE,
    hash TEXT NOT NULL UNIQUE CHECK (length(hash) = 43),
    expires_at BIGINT NOT NULL
);
INSERT INTO invitations (member, hash, expires_at) SELECT member, hash, expires_at FROM invitations_before;

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
-- A session without a membership opens nothing, and would open the one that its account is given next.
INSERT INTO sessions (hash, id, account, created_at, last_seen_at, expires_at, method, user_agent, address)
    SELECT s.hash, s.id, s.account, s.created_at, s.last_seen_at, s.expires_at, s.method, s.user_agent, s.address
    FROM sessions_before s
    WHERE EXISTS (SELECT 1 FROM members m WHERE m.account = s.account AND m.joined_at IS NOT NULL);

CREATE TABLE known_browsers (
    hash TEXT PRIMARY KEY CHECK (length(hash) = 43),
    account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL
);
INSERT INTO known_browsers (hash, account, expires_at)
    SELECT b.hash, b.account, b.expires_at FROM known_browsers_before b
    WHERE EXISTS (SELECT 1 FROM members m WHERE m.account = b.account AND m.joined_at IS NOT NULL);

CREATE TABLE identities (
    issuer TEXT NOT NULL CHECK (length(issuer) <= 2048),
    subject TEXT NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    PRIMARY KEY (issuer, subject),
    UNIQUE (issuer, account)
);
INSERT INTO identities (issuer, subject, account) SELECT issuer, subject, account FROM identities_before;

DELETE FROM accounts WHERE verified_at IS NULL AND NOT EXISTS
    (SELECT 1 FROM members m WHERE m.account = accounts.id);

DROP TABLE invitations_before;
DROP TABLE api_tokens_before;
DROP TABLE grants_before;
DROP TABLE identities_before;
DROP TABLE known_browsers_before;
DROP TABLE sessions_before;
DROP TABLE members_before;
DROP TABLE accounts_before;

CREATE UNIQUE INDEX accounts_verified ON accounts (email) WHERE verified_at IS NOT NULL;
CREATE INDEX accounts_by_email ON accounts (email, password_hash);
CREATE INDEX members_by_workspace ON members (workspace, id);
CREATE INDEX members_by_account ON members (account, workspace);
CREATE INDEX grants_by_resource ON grants (resource);
CREATE INDEX api_tokens_by_member ON api_tokens (member, id);
CREATE INDEX sessions_by_account ON sessions (account, created_at, id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_by_last_seen ON sessions (last_seen_at);
CREATE INDEX known_browsers_by_account ON known_browsers (account, expires_at);
CREATE INDEX known_browsers_by_expiry ON known_browsers (expires_at);
CREATE INDEX identities_by_account ON identities (account);
