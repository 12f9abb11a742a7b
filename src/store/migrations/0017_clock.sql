-- The time that has certainly passed, as the processes that serve from this store have witnessed it: a clock that is
-- behind it at a start is wrong, and what a clock far ahead of it shows as expired is not deleted for a day.
CREATE TABLE clock_mark (
    only_row BIGINT PRIMARY KEY CHECK (only_row = 1),
    trusted BIGINT NOT NULL
);
INSERT INTO clock_mark (only_row, trusted) VALUES (1, 0);

-- Whether the dropping of old events is itself in the trail. It is not in stores of before, until the next start.
ALTER TABLE audit_chain ADD COLUMN drops_recorded BIGINT NOT NULL DEFAULT 0;

-- Tokens that say they were issued in the future: a clock was ahead.
CREATE INDEX issued_tokens_by_issue ON issued_tokens (issued_hour);
