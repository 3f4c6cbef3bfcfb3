-- Keeping the log for years: keys that follow each other, and a prefix that may be pruned.
-- depends: 0002-log

-- migrate: apply

-- Entries below this index were pruned, but for those that are held; their hashes are kept.
ALTER TABLE log_head ADD COLUMN pruned bigint NOT NULL DEFAULT 0 CHECK (pruned >= 0);

-- Notes by which one signing key names the next, written by the signer alone. `announced` says
-- that the audit log has told of it.
CREATE TABLE key_succession (
    verifier_key text PRIMARY KEY,
    note text NOT NULL,
    named_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    announced boolean NOT NULL DEFAULT false
);

GRANT SELECT, INSERT ON key_succession TO audit_signer;
GRANT SELECT, UPDATE (announced) ON key_succession TO audit_log;

-- migrate: rollback

DROP TABLE key_succession;
ALTER TABLE log_head DROP COLUMN pruned;
