-- How make-believe portals behave, and what they know of their logins besides functions.
-- depends: 0011-adoption-and-rosters

-- migrate: apply

ALTER TABLE simulated_login
    ADD COLUMN name text NOT NULL DEFAULT '',
    ADD COLUMN email text NOT NULL DEFAULT '',
    ADD COLUMN last_login_at timestamptz;

CREATE TABLE simulated_portal (
    organization text NOT NULL,
    portal text NOT NULL,
    delay_seconds integer NOT NULL DEFAULT 0,
    -- So many of the next operations are rejected.
    reject_next integer NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, portal)
);

-- migrate: rollback
DROP TABLE simulated_portal;
ALTER TABLE simulated_login DROP COLUMN name, DROP COLUMN email, DROP COLUMN last_login_at;
