-- Tokens issued before a moment are no longer accepted: of a whole workspace, or proved by one key.
ALTER TABLE workspaces ADD COLUMN not_issued_before BIGINT NOT NULL DEFAULT 0;
ALTER TABLE app_keys ADD COLUMN not_issued_before BIGINT NOT NULL DEFAULT 0;
