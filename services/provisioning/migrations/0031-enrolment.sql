-- How far the organization's own enrolment on each portal is, per TIN: four phases with checklists.
-- depends: 0002-provisioning

-- migrate: apply

CREATE TABLE enrolment_phase (
    organization text NOT NULL,
    enrolment text NOT NULL,
    phase text NOT NULL,
    status text NOT NULL,
    owner text,
    -- Item of the checklist -> {by, at}.
    ticked jsonb NOT NULL DEFAULT '{}',
    since timestamptz NOT NULL,
    due_at timestamptz,
    note text,
    PRIMARY KEY (organization, enrolment, phase)
);

-- migrate: rollback
DROP TABLE enrolment_phase;
