-- Which signing key signed the tokens that are counted, so that a key that is ended takes its tokens' counts along.
-- Those counted already may be any key's that signed within their hour: of two such keys both are given them.
ALTER TABLE issued_tokens RENAME TO issued_tokens_before;

CREATE TABLE issued_tokens (
    app TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    app_key TEXT NOT NULL REFERENCES app_keys (id) ON DELETE CASCADE,
    signing_key TEXT NOT NULL REFERENCES signing_keys (id) ON DELETE CASCADE,
    issued_hour BIGINT NOT NULL,
    expires_hour BIGINT NOT NULL,
    issued BIGINT NOT NULL,
    PRIMARY KEY (app, app_key, signing_key, issued_hour, expires_hour)
);
INSERT INTO issued_tokens (app, app_key, signing_key, issued_hour, expires_hour, issued)
    SELECT b.app, b.app_key, s.id, b.issued_hour, b.expires_hour, b.issued
    FROM issued_tokens_before b JOIN signing_keys s
        ON s.signs_from / 3600 <= b.issued_hour
        AND (s.signs_until IS NULL OR s.signs_until / 3600 >= b.issued_hour);
DROP TABLE issued_tokens_before;
CREATE INDEX issued_tokens_by_key ON issued_tokens (app_key);
CREATE INDEX issued_tokens_by_signing_key ON issued_tokens (signing_key);
CREATE INDEX issued_tokens_by_expiry ON issued_tokens (expires_hour);
