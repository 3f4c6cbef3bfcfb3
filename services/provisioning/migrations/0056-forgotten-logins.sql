-- What is left of the login ids of erased people: enough to keep them from others, and no names.
-- depends: 0055-administrators-by-tax-id

-- migrate: apply

-- With it login ids are hashed, so that a list of likely ones does not tell whose they were unless
-- this table is had as well.
CREATE TABLE forgotten_login_key (
    organization text PRIMARY KEY,
    key bytea NOT NULL
);

-- `ended_at`: when the last access under the login id was confirmed to be gone.
CREATE TABLE forgotten_login (
    organization text NOT NULL,
    portal text NOT NULL,
    digest bytea NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (organization, portal, digest)
);

-- migrate: rollback
DROP TABLE forgotten_login, forgotten_login_key;
