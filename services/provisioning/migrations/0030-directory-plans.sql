-- Plans: a directory that might be applied, what it changes, and whose access by simulation.
-- depends: 0002-provisioning

-- migrate: apply

CREATE TABLE directory_plan (
    organization text NOT NULL,
    -- Digest of organization, base version and document: what somebody looked at and agreed to.
    plan text NOT NULL,
    base_version integer NOT NULL,
    document jsonb NOT NULL,
    changes jsonb NOT NULL,
    needs_approval boolean NOT NULL,
    -- False for a mere simulation.
    applicable boolean NOT NULL,
    status text NOT NULL,
    made_by text NOT NULL,
    made_at timestamptz NOT NULL,
    -- How far the simulation is: the last cluster of workers looked at, how many, of how many.
    simulated_to text NOT NULL DEFAULT '',
    simulated integer NOT NULL DEFAULT 0,
    total integer NOT NULL DEFAULT 0,
    proposed_by text,
    proposed_at timestamptz,
    decided_by text,
    decided_at timestamptz,
    reason text,
    version integer,
    PRIMARY KEY (organization, plan)
);
CREATE INDEX directory_plan_simulating ON directory_plan (made_at) WHERE status = 'simulating';

CREATE TABLE directory_plan_effect (
    organization text NOT NULL,
    plan text NOT NULL,
    worker text NOT NULL,
    name text,
    gains jsonb NOT NULL,
    loses jsonb NOT NULL,
    more jsonb NOT NULL,
    PRIMARY KEY (organization, plan, worker),
    FOREIGN KEY (organization, plan) REFERENCES directory_plan ON DELETE CASCADE
);

ALTER TABLE directory_version ADD COLUMN plan text, ADD COLUMN approved_by text;

-- migrate: rollback
ALTER TABLE directory_version DROP COLUMN plan, DROP COLUMN approved_by;
DROP TABLE directory_plan_effect, directory_plan;
