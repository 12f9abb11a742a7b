-- Which key of the app proved a revoked token, and in which hour it was issued, so that it is taken off the count of live
-- tokens that it is in. Not known of one that was revoked by its id alone, nor of those revoked before.
ALTER TABLE revocations ADD COLUMN app_key TEXT;
ALTER TABLE revocations ADD COLUMN issued_hour BIGINT;
