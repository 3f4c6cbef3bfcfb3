-- Webhook secrets of HR sources that were made here, and until when those they replace still count.
-- depends: 0004-replayed

-- migrate: apply

CREATE TABLE source_secret (
    source text NOT NULL,
    -- Of the secret as text; it names the secret wherever that itself must not be shown.
    sha256 bytea NOT NULL,
    -- AES-256-GCM; NULL for a secret of the sources file, of which only the end is kept here.
    nonce bytea,
    sealed bytea,
    made_by text,
    created_at timestamptz NOT NULL,
    ends_at timestamptz,
    PRIMARY KEY (source, sha256),
    CHECK ((nonce IS NULL) = (sealed IS NULL))
);

-- migrate: rollback
DROP TABLE source_secret;
