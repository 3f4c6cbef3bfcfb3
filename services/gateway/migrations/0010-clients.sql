-- Programs that get tokens for credentials of their own. Secrets are stored as SHA-256 only.
-- depends: 0009-notices

-- migrate: apply

CREATE TABLE client (
    client_id text PRIMARY KEY,
    organization text NOT NULL,
    name text NOT NULL,
    scopes text[] NOT NULL,
    -- The HR source it speaks for, where it may send HR events.
    source text,
    registered_at timestamptz NOT NULL,
    registered_by text NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX client_of ON client (organization, registered_at);

-- While a secret is being replaced there are two; `ends_at` is when one on its way out stops counting.
CREATE TABLE client_secret (
    secret_sha256 bytea PRIMARY KEY,
    client_id text NOT NULL REFERENCES client ON DELETE CASCADE,
    made_at timestamptz NOT NULL,
    ends_at timestamptz
);
CREATE INDEX client_secret_of ON client_secret (client_id);

-- migrate: rollback
DROP TABLE client_secret, client;
