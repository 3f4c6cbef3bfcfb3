-- Access beyond policy: exceptions and break-glass.
-- depends: 0002-provisioning

-- migrate: apply

CREATE TABLE exception (
    organization text NOT NULL,
    exception_id uuid NOT NULL,
    kind text NOT NULL,
    worker text NOT NULL,
    portal text NOT NULL,
    tin text NOT NULL,
    function text NOT NULL,
    reason text NOT NULL,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    status text NOT NULL,
    approved_by text,
    approved_at timestamptz,
    reviewed_by text,
    PRIMARY KEY (organization, exception_id)
);
CREATE INDEX exception_live ON exception (organization, worker)
    WHERE status IN ('requested', 'approved');

-- migrate: rollback
DROP TABLE exception;
