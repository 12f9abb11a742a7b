-- What the console's pages count and search.

-- Tokens issued, by the key that proved the request and by the hours of issue and expiry.
CREATE TABLE issued_tokens (
    app TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    app_key TEXT NOT NULL REFERENCES app_keys (id) ON DELETE CASCADE,
    issued_hour BIGINT NOT NULL,
    expires_hour BIGINT NOT NULL,
    issued BIGINT NOT NULL,
    PRIMARY KEY (app, app_key, issued_hour, expires_hour)
);
CREATE INDEX issued_tokens_by_key ON issued_tokens (app_key);
CREATE INDEX issued_tokens_by_expiry ON issued_tokens (expires_hour);
CREATE INDEX revocations_by_app ON revocations (app, expires_at);

-- Names in small letters, to search in. The indexes hold all that a list is filtered by.
ALTER TABLE apps ADD COLUMN search TEXT NOT NULL DEFAULT '';
UPDATE apps SET search = lower(name);
DROP INDEX apps_by_workspace;
CREATE INDEX apps_by_workspace ON apps (workspace, id, search);
ALTER TABLE sources ADD COLUMN search TEXT NOT NULL DEFAULT '';
UPDATE sources SET search = lower(name);
DROP INDEX sources_by_workspace;
CREATE INDEX sources_by_workspace ON sources (workspace, id, search, kind, enforcement, app);
CREATE INDEX sources_by_enforcement ON sources (workspace, enforcement);
