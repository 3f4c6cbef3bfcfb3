-- What HR vendors' webhooks brought, and how each employee stood when last asked.
-- depends: 0011-embargo

-- migrate: apply

CREATE TABLE vendor_delivery (
    -- Derived from source and body: the same delivery again is the same row.
    id uuid PRIMARY KEY,
    source text NOT NULL,
    vendor text NOT NULL,
    -- The raw body, AES-256-GCM.
    nonce bytea NOT NULL,
    sealed bytea NOT NULL,
    received_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    -- When to look at it (again); NULL once nothing is left to do.
    due_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    failure text,
    done_at timestamptz
);
CREATE INDEX vendor_delivery_due ON vendor_delivery (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX vendor_delivery_expiry ON vendor_delivery (expires_at);

CREATE TABLE vendor_employee (
    source text NOT NULL,
    employee text NOT NULL,
    -- What the source said last of them, AES-256-GCM.
    nonce bytea NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (source, employee)
);

-- migrate: rollback
DROP TABLE vendor_employee, vendor_delivery;
