-- Who may come in: one-time links and the sessions they open. Secrets are stored as SHA-256 only.
-- depends: 0001-machinery

-- migrate: apply

CREATE TABLE sign_in_link (
    code_sha256 bytea PRIMARY KEY,
    organization text NOT NULL,
    subject text NOT NULL,
    name text NOT NULL,
    worker text,
    roles text[] NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);

CREATE TABLE session (
    secret_sha256 bytea PRIMARY KEY,
    -- The name of the session in events and logs; it opens nothing.
    public_id text NOT NULL UNIQUE,
    organization text NOT NULL,
    subject text NOT NULL,
    name text NOT NULL,
    worker text,
    roles text[] NOT NULL,
    opened_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    closed_at timestamptz
);
CREATE INDEX session_expiry ON session (expires_at);

-- Refused attempts by client address, to slow guessing and to bound how many become events.
CREATE TABLE refused_attempt (
    kind text NOT NULL,
    client text NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX refused_attempt_recent ON refused_attempt (kind, client, at);

-- migrate: rollback
DROP TABLE refused_attempt, session, sign_in_link;
