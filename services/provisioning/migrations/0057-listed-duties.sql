-- Who has a duty that few have is found without reading everybody.
-- depends: 0053-listed-workers 0056-forgotten-logins

-- migrate: apply
-- What waits to be merged into the index is read whole by each search, so little may wait.
CREATE INDEX listed_worker_duties ON listed_worker USING gin (duties)
    WITH (gin_pending_list_limit = 256);

-- migrate: rollback
DROP INDEX listed_worker_duties;
