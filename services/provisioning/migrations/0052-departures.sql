-- Removals that departures ordered, by when: for what is asked about the last twelve months.
-- depends: 0002-provisioning

-- migrate: apply

CREATE INDEX operation_departure ON operation (organization, requested_at)
    WHERE rule = 'employment_ended';

-- migrate: rollback
DROP INDEX operation_departure;
