-- What HR systems sent that was rejected, and when each was last heard from.
-- depends: 0002-sign-in

-- migrate: apply

CREATE TABLE rejected_body (
    -- Derived from source and content: the same event sent again is the same row.
    reference uuid PRIMARY KEY,
    source text,
    organization text,
    code text NOT NULL,
    detail text NOT NULL,
    sha256 bytea NOT NULL,
    -- AES-256-GCM; the reference is the associated data. Nothing of the body is kept in clear.
    nonce bytea NOT NULL,
    sealed bytea NOT NULL,
    rejected_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX rejected_body_recent ON rejected_body (organization, rejected_at DESC);
CREATE INDEX rejected_body_expiry ON rejected_body (expires_at);

CREATE TABLE source_heard (
    organization text NOT NULL,
    source text NOT NULL,
    last_heard_at timestamptz NOT NULL,
    accepted bigint NOT NULL,
    rejected bigint NOT NULL,
    PRIMARY KEY (organization, source)
);

-- migrate: rollback
DROP TABLE source_heard, rejected_body;
