-- The picture of who has what, and the campaigns, reviews and lines made from it.
-- depends: 0001-machinery

-- migrate: apply

-- Objects of the directory that reviews depend on; `data` is null once the object was removed.
CREATE TABLE directory_object (
    organization text NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    epoch bigint NOT NULL,
    version bigint NOT NULL,
    data jsonb,
    PRIMARY KEY (organization, kind, id)
);

-- The latest applied state of each worker, reduced to what reviews need. `role` is the last one
-- known: it outlives leave and departure. `effective` lists what the worker holds now.
CREATE TABLE worker (
    organization text NOT NULL,
    worker text NOT NULL,
    epoch bigint NOT NULL DEFAULT -1,
    version bigint NOT NULL DEFAULT -1,
    status text NOT NULL DEFAULT 'unknown',
    name text,
    merged_into text,
    supervisor text,
    role jsonb,
    effective jsonb NOT NULL DEFAULT '[]',
    PRIMARY KEY (organization, worker)
);
CREATE INDEX worker_holder ON worker (organization, worker) WHERE effective <> '[]';

CREATE TABLE campaign (
    campaign_id uuid PRIMARY KEY,
    organization text NOT NULL,
    title text NOT NULL,
    opened_by text NOT NULL,
    opened_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    policy_version text,
    status text NOT NULL CHECK (status IN ('opening', 'open', 'closed')),
    -- While it is opening: the last worker whose reviews have been opened.
    opened_through text NOT NULL DEFAULT '',
    closed_at timestamptz
);
CREATE INDEX campaign_listed ON campaign (organization, opened_at, campaign_id);
CREATE INDEX campaign_opening ON campaign (opened_at) WHERE status = 'opening';

CREATE TABLE review (
    review_id uuid PRIMARY KEY,
    organization text NOT NULL,
    campaign_id uuid REFERENCES campaign,
    worker text NOT NULL,
    -- Null: whoever holds review:admin.
    reviewer text,
    reviewer_rule text NOT NULL,
    reason text NOT NULL,
    status text NOT NULL CHECK (status IN ('open', 'decided', 'closed')),
    opened_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    closed_at timestamptz
);
CREATE INDEX review_listed ON review (organization, due_at, review_id);
CREATE INDEX review_of_reviewer ON review (organization, reviewer, due_at, review_id);
CREATE INDEX review_of_worker ON review (organization, worker);
CREATE INDEX review_of_campaign ON review (campaign_id, status);

CREATE TABLE line (
    line_id uuid PRIMARY KEY,
    review_id uuid NOT NULL REFERENCES review,
    portal text NOT NULL,
    tin text NOT NULL,
    function text NOT NULL,
    operation_id text,
    grade text,
    since timestamptz,
    authorized_by jsonb,
    duties jsonb NOT NULL,
    status text NOT NULL CHECK (status IN ('undecided', 'kept', 'removal_decided',
        'removal_ordered', 'removal_confirmed', 'moot')),
    detail text,
    decision text CHECK (decision IN ('keep', 'remove')),
    decided_by text,
    decided_at timestamptz,
    reason text,
    -- How many times somebody has decided.
    revision integer NOT NULL DEFAULT 0,
    CHECK (status NOT IN ('kept', 'removal_decided', 'removal_ordered', 'removal_confirmed')
        OR decided_by IS NOT NULL),
    UNIQUE (review_id, portal, tin, function)
);

-- migrate: rollback

DROP TABLE line, review, campaign, worker, directory_object;
