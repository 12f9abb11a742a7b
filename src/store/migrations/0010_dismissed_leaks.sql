-- Notices that were dismissed are looked for by when, to be dropped with the trail of that time.
CREATE INDEX leaked_tokens_by_dismissal ON leaked_tokens (dismissed_at) WHERE dismissed_at IS NOT NULL;
