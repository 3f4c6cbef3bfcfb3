-- Directory, timelines, accounts, operations and review decisions.
-- depends: 0001-machinery

-- migrate: apply

-- The directory as applied, whole, per version; decisions name the version they were made with.
CREATE TABLE directory_version (
    organization text NOT NULL,
    version integer NOT NULL,
    document jsonb NOT NULL,
    applied_at timestamptz NOT NULL,
    applied_by text NOT NULL,
    PRIMARY KEY (organization, version)
);

-- The row whose lock serialises applies, and the version in force.
CREATE TABLE directory_head (
    organization text PRIMARY KEY,
    version integer NOT NULL
);

-- Rows to lock when a decision depends on other workers of a portal.
CREATE TABLE portal_lock (
    organization text NOT NULL,
    portal text NOT NULL,
    PRIMARY KEY (organization, portal)
);

CREATE TABLE administrator_standing (
    organization text NOT NULL,
    portal text NOT NULL,
    worker text NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz,
    leaves_at timestamptz,
    PRIMARY KEY (organization, portal, worker, since)
);

CREATE TABLE worker (
    organization text NOT NULL,
    worker text NOT NULL,
    -- Least worker id of all ids that any merge ever tied to this one: what is locked together.
    cluster text NOT NULL,
    epoch integer NOT NULL DEFAULT 1,
    version bigint NOT NULL DEFAULT 0,
    as_of timestamptz,
    next_change_at timestamptz,
    directory_version integer NOT NULL DEFAULT 0,
    status text NOT NULL DEFAULT 'unknown',
    name text,
    merged_into text,
    findings jsonb NOT NULL DEFAULT '[]',
    digest bytea,
    -- The state as published, as its bytes were, apart from what it says of portals: most events
    -- leave that as it is. Null until something is published.
    state json,
    portals json NOT NULL DEFAULT '[]',
    -- What the portals were decided from besides accounts and operations, and until when that
    -- holds; a null basis has them looked at the next time.
    portals_basis bytea,
    portals_change_at timestamptz,
    PRIMARY KEY (organization, worker)
) WITH (fillfactor = 80, toast_tuple_target = 8160);
-- Compressing states of two kilobytes would cost more than everything else that is written.
CREATE INDEX worker_cluster ON worker (organization, cluster);
CREATE INDEX worker_due ON worker (next_change_at) WHERE next_change_at IS NOT NULL;
CREATE INDEX worker_behind ON worker (organization, directory_version);

-- Workers to decide about anew because another worker's change touches them. A request may repeat
-- another: it must neither wait for, nor be lost with, one that is just being taken.
CREATE TABLE recompute_request (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization text NOT NULL,
    worker text NOT NULL
);

CREATE TABLE worker_event (
    organization text NOT NULL,
    source text NOT NULL,
    id text NOT NULL,
    fingerprint bytea NOT NULL,
    worker text NOT NULL,
    type text NOT NULL,
    time timestamptz NOT NULL,
    effective_at timestamptz,
    zone text NOT NULL,
    data json NOT NULL,
    entered_by text,
    conflicting boolean NOT NULL DEFAULT false,
    lane text NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (organization, source, id, fingerprint)
);
CREATE INDEX worker_event_worker ON worker_event (organization, worker);
-- Of two transactions that give one id to two events at once, the later one must notice.
CREATE UNIQUE INDEX worker_event_id ON worker_event (organization, source, id)
    WHERE NOT conflicting;

CREATE TABLE account (
    organization text NOT NULL,
    worker text NOT NULL,
    portal text NOT NULL,
    status text NOT NULL,
    grade text,
    login_id text,
    rights jsonb NOT NULL,
    targets jsonb NOT NULL,
    exposed_since timestamptz,
    PRIMARY KEY (organization, worker, portal)
) WITH (fillfactor = 80);
CREATE INDEX account_exposed ON account (organization, exposed_since)
    WHERE exposed_since IS NOT NULL;

CREATE TABLE operation (
    operation_id uuid PRIMARY KEY,
    organization text NOT NULL,
    worker text NOT NULL,
    portal text NOT NULL,
    kind text NOT NULL,
    tin text,
    function text,
    generation integer NOT NULL,
    status text NOT NULL,
    rights jsonb NOT NULL,
    authorized_by jsonb,
    rule text NOT NULL,
    events text[] NOT NULL,
    steps jsonb NOT NULL,
    steps_done jsonb NOT NULL DEFAULT '{}',
    requested_at timestamptz NOT NULL,
    deadline timestamptz NOT NULL,
    rank integer NOT NULL,
    claimed_by text,
    overdue boolean NOT NULL DEFAULT false,
    evidence jsonb,
    outcome text,
    ended_at timestamptz
) WITH (fillfactor = 80);
CREATE INDEX operation_queue ON operation (organization, deadline, rank, operation_id)
    WHERE status IN ('requested', 'claimed', 'superseded');
CREATE INDEX operation_worker ON operation (organization, worker, portal);

CREATE TABLE review_decision (
    organization text NOT NULL,
    review_id text NOT NULL,
    line_id text NOT NULL,
    worker text NOT NULL,
    portal text NOT NULL,
    tin text,
    function text,
    operation_id text,
    decided_by text NOT NULL,
    decided_at timestamptz NOT NULL,
    status text NOT NULL,
    detail text NOT NULL DEFAULT '',
    PRIMARY KEY (organization, review_id, line_id)
);
CREATE INDEX review_decision_worker ON review_decision (organization, worker);

-- The portal simulator's own truth: what its make-believe portals hold. Never read by decisions.
CREATE TABLE simulated_login (
    organization text NOT NULL,
    portal text NOT NULL,
    login_id text NOT NULL,
    worker text NOT NULL,
    active boolean NOT NULL,
    functions jsonb NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (organization, portal, worker)
);

-- migrate: rollback
DROP TABLE simulated_login, review_decision, operation, account, worker_event, recompute_request,
    worker, administrator_standing, portal_lock, directory_head, directory_version;
