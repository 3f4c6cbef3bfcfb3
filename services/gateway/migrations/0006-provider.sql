-- Signing in through an identity provider, and how long ago somebody proved who they are.
-- depends: 0005-source-secrets

-- migrate: apply

-- When the provider last asked who it is; null where only a link can tell, and nobody can be asked
-- again.
ALTER TABLE session ADD COLUMN authenticated_at timestamptz;
ALTER TABLE sign_in_link ADD COLUMN authenticated_at timestamptz;

-- A sign-in that was begun and has not come back yet. `session` is the one that it will replace.
CREATE TABLE sign_in_attempt (
    state_sha256 bytea PRIMARY KEY,
    nonce text NOT NULL,
    verifier text NOT NULL,
    fresh boolean NOT NULL,
    return_to text NOT NULL,
    session text,
    begun_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX sign_in_attempt_expiry ON sign_in_attempt (expires_at);

-- migrate: rollback
DROP TABLE sign_in_attempt;
ALTER TABLE sign_in_link DROP COLUMN authenticated_at;
ALTER TABLE session DROP COLUMN authenticated_at;
