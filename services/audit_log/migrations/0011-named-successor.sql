-- A log's key names the log that follows it.
-- depends: 0010-forgetting-in-search

-- migrate: apply

-- The signed note that names the key of the log after it; null where the key was lost.
ALTER TABLE predecessor ADD COLUMN statement text;

-- migrate: rollback

ALTER TABLE predecessor DROP COLUMN statement;
