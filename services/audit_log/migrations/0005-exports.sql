-- Exports that people asked for, and how far each is made.
-- depends: 0004-search

-- migrate: apply

CREATE TABLE export (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization text NOT NULL,
    requested_by text NOT NULL,
    form text NOT NULL CHECK (form IN ('jsonl', 'csv', 'evidence')),
    asked jsonb NOT NULL,
    -- The checkpoint that everything in the export is proved with.
    size bigint NOT NULL,
    note text NOT NULL,
    verifier_key text NOT NULL,
    status text NOT NULL DEFAULT 'waiting'
        CHECK (status IN ('waiting', 'running', 'done', 'failed')),
    total bigint,
    done bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    sha256 text,
    error text,
    requested_at timestamptz NOT NULL,
    finished_at timestamptz
);
CREATE INDEX export_organization ON export (organization, requested_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON export, idempotency TO audit_log;

-- migrate: rollback

REVOKE ALL ON idempotency FROM audit_log;
DROP TABLE export;
