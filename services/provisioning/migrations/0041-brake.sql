-- Removals that wait for the brake's verdict, by what caused them.
-- depends: 0002-provisioning

-- migrate: apply

CREATE TABLE brake_cause (
    organization text NOT NULL,
    cause_id text NOT NULL,
    kind text NOT NULL,
    opened_at timestamptz NOT NULL,
    status text NOT NULL,
    parked integer NOT NULL DEFAULT 0,
    held integer NOT NULL DEFAULT 0,
    judged_at timestamptz,
    decided_by text,
    reason text,
    PRIMARY KEY (organization, cause_id)
);
CREATE INDEX brake_cause_open ON brake_cause (organization) WHERE status = 'gathering';

-- What waits: one entitlement, or (with empty TIN and function) the closing of a whole account.
CREATE TABLE parked_removal (
    organization text NOT NULL,
    worker text NOT NULL,
    portal text NOT NULL,
    tin text NOT NULL,
    function text NOT NULL,
    cause_id text NOT NULL,
    parked_at timestamptz NOT NULL,
    PRIMARY KEY (organization, worker, portal, tin, function)
);
CREATE INDEX parked_removal_cause ON parked_removal (organization, cause_id);

-- migrate: rollback
DROP TABLE parked_removal, brake_cause;
