-- That a portal was told of a departure, and what shows it.
-- depends: 0002-provisioning

-- migrate: apply

CREATE TABLE notice (
    organization text NOT NULL,
    worker text NOT NULL,
    portal text NOT NULL,
    -- Which departure it is about: when the employment ended.
    left_at timestamptz NOT NULL,
    channel text NOT NULL,
    proof text NOT NULL,
    sent_by text NOT NULL,
    sent_at timestamptz NOT NULL,
    PRIMARY KEY (organization, worker, portal, left_at)
);
CREATE INDEX operation_departures ON operation (organization, requested_at)
    WHERE rule = 'employment_ended';

-- migrate: rollback
DROP INDEX operation_departures;
DROP TABLE notice;
