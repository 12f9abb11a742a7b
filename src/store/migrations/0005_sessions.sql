-- Who is signed in. What a browser or a person holds is kept as its SHA-256.

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

-- Browsers that a person has signed in from: attempts from them are not held up by what strangers try.
CREATE TABLE known_browsers (
    hash TEXT PRIMARY KEY CHECK (length(hash) = 43),
    account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL
);
CREATE INDEX known_browsers_by_account ON known_browsers (account, expires_at);
CREATE INDEX known_browsers_by_expiry ON known_browsers (expires_at);

-- Sign-ons under way at an outside provider.
CREATE TABLE sign_ons (
    state_hash TEXT PRIMARY KEY CHECK (length(state_hash) = 43),
    expires_at BIGINT NOT NULL
);
CREATE INDEX sign_ons_by_expiry ON sign_ons (expires_at);

-- Whom an outside provider knows by which subject. An account has one subject at a provider.
CREATE TABLE identities (
    issuer TEXT NOT NULL CHECK (length(issuer) <= 2048),
    subject TEXT NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    PRIMARY KEY (issuer, subject),
    UNIQUE (issuer, account)
);
CREATE INDEX identities_by_account ON identities (account);
