-- HR's lists of workers: what provisioning published, who belongs to which source, lists, questions.
-- depends: 0006-provider

-- migrate: apply

-- The picture of workers and directory, as on the compacted topics. `state` is null after erasure.
CREATE TABLE known_worker (
    organization text NOT NULL,
    worker text NOT NULL,
    epoch bigint NOT NULL,
    version bigint NOT NULL,
    merged_into text,
    state jsonb,
    PRIMARY KEY (organization, worker)
);

CREATE TABLE directory_object (
    organization text NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    epoch bigint NOT NULL,
    version bigint NOT NULL,
    data jsonb,
    PRIMARY KEY (organization, kind, id)
);

-- Whom a source has named, in an event or a list; `said` is where its last list said they stand.
CREATE TABLE source_worker (
    organization text NOT NULL,
    source text NOT NULL,
    worker text NOT NULL,
    said text,
    PRIMARY KEY (organization, source, worker)
);
CREATE INDEX source_worker_of ON source_worker (organization, worker);

-- How a source's lists are read, and when one is expected.
CREATE TABLE hr_source (
    organization text NOT NULL,
    source text NOT NULL,
    mapping jsonb NOT NULL,
    expected jsonb,
    late_since timestamptz,
    PRIMARY KEY (organization, source)
);

-- Lists received. The lines are sealed, without the columns that were dropped, and go after 30 days.
CREATE TABLE roster (
    plan uuid PRIMARY KEY,
    organization text NOT NULL,
    source text NOT NULL,
    file_name text NOT NULL,
    sha256 bytea NOT NULL,
    received_at timestamptz NOT NULL,
    received_by text NOT NULL,
    status text NOT NULL,
    -- What it came to when it was last planned; `problem` is why it could not be read.
    counts jsonb NOT NULL,
    problem text,
    nonce bytea,
    sealed bytea,
    decided_by text,
    decided_at timestamptz,
    -- The events of an applied list that are still to be published, sealed, and how far that is.
    event_nonce bytea,
    events bytea,
    events_total integer NOT NULL DEFAULT 0,
    events_done integer NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL
);
CREATE INDEX roster_recent ON roster (organization, source, received_at DESC);
CREATE INDEX roster_applying ON roster (received_at) WHERE status = 'applying';
CREATE INDEX roster_expiry ON roster (expires_at);

CREATE TABLE hr_question (
    organization text NOT NULL,
    source text NOT NULL,
    worker text NOT NULL,
    kind text NOT NULL,
    plan uuid NOT NULL,
    detail text NOT NULL,
    asked_at timestamptz NOT NULL,
    answer text,
    answered_by text,
    answered_at timestamptz,
    PRIMARY KEY (organization, source, worker, kind)
);

-- migrate: rollback
DROP TABLE hr_question, roster, hr_source, source_worker, directory_object, known_worker;
