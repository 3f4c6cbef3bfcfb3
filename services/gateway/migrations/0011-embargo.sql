-- Entries that HR sealed until they take effect. A timer of the same name opens each.
-- depends: 0010-clients

-- migrate: apply

CREATE TABLE sealed_entry (
    id uuid PRIMARY KEY,
    organization text NOT NULL,
    -- AES-256-GCM; whom it is about, what it says, who entered it and who may read it are inside.
    nonce bytea NOT NULL,
    sealed bytea NOT NULL
);
CREATE INDEX sealed_entry_organization ON sealed_entry (organization);

-- migrate: rollback
DROP TABLE sealed_entry;
