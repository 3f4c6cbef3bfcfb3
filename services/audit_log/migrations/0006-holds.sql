-- Legal holds, erasures, and the picture of who has access that both must respect.
-- depends: 0005-exports

-- migrate: apply

-- Whether a worker's access is in effect, from the state that provisioning publishes.
CREATE TABLE worker_access (
    organization text NOT NULL,
    worker text NOT NULL,
    epoch bigint NOT NULL,
    version bigint NOT NULL,
    in_effect boolean NOT NULL,
    open_operations integer NOT NULL,
    -- When access was last in effect, as far as published states tell; null if it never was.
    last_in_effect timestamptz,
    aliases text[] NOT NULL,
    PRIMARY KEY (organization, worker)
);

CREATE TABLE hold (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('worker', 'portal', 'review', 'organization')),
    subject text NOT NULL,
    reason text NOT NULL,
    set_by text NOT NULL,
    set_at timestamptz NOT NULL,
    released_by text,
    released_at timestamptz,
    release_reason text
);
CREATE INDEX hold_active ON hold (organization) WHERE released_at IS NULL;

-- What was erased. The key is destroyed after `begun_at` is committed, so that no erasure is
-- without a record; one that is not `finished_at` is finished on the next start.
CREATE TABLE erasure (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization text NOT NULL,
    worker text NOT NULL,
    reason text NOT NULL,
    requested_by text NOT NULL,
    begun_at timestamptz NOT NULL,
    finished_at timestamptz,
    keys_destroyed integer,
    entries_hidden integer
);

-- The same size may be signed again under a key that followed.
ALTER TABLE checkpoint DROP CONSTRAINT checkpoint_pkey;
ALTER TABLE checkpoint ADD PRIMARY KEY (size, verifier_key);

GRANT SELECT, INSERT, UPDATE ON worker_access, erasure TO audit_log;
GRANT SELECT, INSERT, UPDATE (released_by, released_at, release_reason) ON hold TO audit_log;

-- migrate: rollback

ALTER TABLE checkpoint DROP CONSTRAINT checkpoint_pkey;
ALTER TABLE checkpoint ADD PRIMARY KEY (size);
DROP TABLE erasure, hold, worker_access;
