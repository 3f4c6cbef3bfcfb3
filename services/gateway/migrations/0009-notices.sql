-- Who is to be told of what, and what became of it.
-- depends: 0008-source-health

-- migrate: apply

-- What is to be told. `matter` is as in rules/notices.py; `addressed_at` is when it was worked out
-- whom to tell, `ended_at` when there was nothing left to tell.
CREATE TABLE notice (
    organization text NOT NULL,
    key text NOT NULL,
    subject text NOT NULL,
    about text,
    kind text NOT NULL,
    matter jsonb NOT NULL,
    noted_at timestamptz NOT NULL,
    addressed_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (organization, key)
);
CREATE INDEX notice_unaddressed ON notice (noted_at) WHERE addressed_at IS NULL;
CREATE INDEX notice_subject ON notice (organization, subject);
CREATE INDEX notice_recent ON notice (organization, noted_at DESC);

-- One matter to one recipient: a worker id, `team:NAME` or `webhook:ID`.
CREATE TABLE notice_to (
    organization text NOT NULL,
    key text NOT NULL,
    recipient text NOT NULL,
    urgent boolean NOT NULL,
    status text NOT NULL,
    not_before timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    problem text,
    channels text[] NOT NULL DEFAULT '{}',
    settled_at timestamptz,
    PRIMARY KEY (organization, key, recipient),
    FOREIGN KEY (organization, key) REFERENCES notice ON DELETE CASCADE
);
CREATE INDEX notice_to_waiting ON notice_to (urgent, not_before) WHERE status = 'waiting';

-- Where somebody wants to be told, beyond the address that HR gives; sealed.
CREATE TABLE contact (
    organization text NOT NULL,
    worker text NOT NULL,
    nonce bytea NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (organization, worker)
);

-- migrate: rollback
DROP TABLE contact, notice_to, notice;
