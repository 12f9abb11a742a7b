-- Signing keys say from when and until when they sign, so that a key is published before it signs and stays until
-- its last token has expired. `secret` is sealed where `sealed_with` names the key that seals it.
ALTER TABLE signing_keys RENAME TO signing_keys_before;

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
-- A key that had been taken out of use may have signed until the one in use was made; its tokens lived for 30 days.
INSERT INTO signing_keys (id, algorithm, secret, public, created_at, signs_from, signs_until, ends_at)
    SELECT id, algorithm, pkcs8, '', created_at, created_at,
        CASE WHEN active = 1 THEN NULL
             ELSE (SELECT MAX(n.created_at) FROM signing_keys_before n WHERE n.active = 1) END,
        CASE WHEN active = 1 THEN NULL
             ELSE (SELECT MAX(n.created_at) FROM signing_keys_before n WHERE n.active = 1) + 2595600 END
    FROM signing_keys_before;
DROP TABLE signing_keys_before;
