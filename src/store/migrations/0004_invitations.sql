-- What lets an invited person join: the hash of a secret that was shown once, until it expires.
CREATE TABLE invitations (
    member TEXT PRIMARY KEY REFERENCES members (id) ON DELETE CASCADE,
    hash TEXT NOT NULL UNIQUE CHECK (length(hash) = 43),
    expires_at BIGINT NOT NULL,
    failures BIGINT NOT NULL DEFAULT 0
);

-- What a request with an idempotency key made: named, not kept, so that no answer with a secret lies here.
CREATE TABLE retry_keys (
    digest TEXT PRIMARY KEY CHECK (length(digest) = 43),
    actor TEXT NOT NULL CHECK (length(actor) <= 128),
    body_digest TEXT NOT NULL CHECK (length(body_digest) = 43),
    resource_id TEXT NOT NULL CHECK (length(resource_id) <= 128),
    expires_at BIGINT NOT NULL
);
CREATE INDEX retry_keys_by_expiry ON retry_keys (expires_at);
CREATE INDEX retry_keys_by_actor ON retry_keys (actor);

CREATE INDEX grants_by_resource ON grants (resource);
