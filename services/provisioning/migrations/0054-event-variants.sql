-- Two indexes of HR events become one, and an index that was made twice goes.
-- depends: 0002-provisioning 0043-notices 0052-departures

-- migrate: apply

-- The events that a source gave one id are numbered. Of two transactions that store the same
-- number at once, and so have not seen each other, the later one notices.
ALTER TABLE worker_event ADD COLUMN variant smallint;
UPDATE worker_event SET variant = numbered.variant
FROM (
    SELECT ctid, row_number() OVER (
        PARTITION BY organization, source, id ORDER BY recorded_at, fingerprint
    ) - 1 AS variant
    FROM worker_event
) AS numbered
WHERE worker_event.ctid = numbered.ctid;
ALTER TABLE worker_event ALTER COLUMN variant SET NOT NULL;
DROP INDEX worker_event_id;
ALTER TABLE worker_event
    DROP CONSTRAINT worker_event_pkey,
    ADD PRIMARY KEY (organization, source, id, variant);

DROP INDEX IF EXISTS operation_departure;

-- migrate: rollback
CREATE INDEX IF NOT EXISTS operation_departure ON operation (organization, requested_at)
    WHERE rule = 'employment_ended';
ALTER TABLE worker_event
    DROP CONSTRAINT worker_event_pkey,
    ADD PRIMARY KEY (organization, source, id, fingerprint),
    DROP COLUMN variant;
CREATE UNIQUE INDEX worker_event_id ON worker_event (organization, source, id)
    WHERE NOT conflicting;
