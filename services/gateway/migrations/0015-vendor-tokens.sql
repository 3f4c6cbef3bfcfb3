-- What vendors give and replace while they are connected: keys that sign, tokens for their APIs.
-- depends: 0014-deliveries

-- migrate: apply

CREATE TABLE vendor_token (
    source text NOT NULL,
    -- `webhook_key` or `access`.
    kind text NOT NULL,
    -- AES-256-GCM.
    nonce bytea NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (source, kind)
);

-- migrate: rollback
DROP TABLE vendor_token;
