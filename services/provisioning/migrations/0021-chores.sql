-- Work that people do without any change of access: asking a portal for something, looking.
-- depends: 0002-provisioning

-- migrate: apply

CREATE TABLE chore (
    chore_id uuid PRIMARY KEY,
    organization text NOT NULL,
    kind text NOT NULL,
    portal text NOT NULL,
    -- Whom it concerns, where it concerns one worker.
    worker text,
    text text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}',
    -- The administrator it is for, as the directory had it when it was asked for.
    addressed_to text,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL,
    deadline timestamptz NOT NULL,
    status text NOT NULL,
    claimed_by text,
    evidence jsonb,
    outcome text,
    ended_by text,
    ended_at timestamptz
);
CREATE INDEX chore_queue ON chore (organization, deadline, chore_id) WHERE ended_at IS NULL;
CREATE INDEX chore_portal ON chore (organization, portal, kind);

-- migrate: rollback
DROP TABLE chore;
