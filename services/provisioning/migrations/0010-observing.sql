-- What is known of portals that had users before, and since when; last logins.
-- depends: 0002-provisioning

-- migrate: apply

-- Per portal of this version: since when it is in the directory or its users are known (`since`),
-- whether users were adopted, and as of when its first roster was reconciled. Part of the version,
-- so that whoever was decided about with less is behind and decided about anew.
ALTER TABLE directory_version ADD COLUMN observed jsonb NOT NULL DEFAULT '{}';

-- Portals that were worked with before this came are not put under observation now.
UPDATE directory_version SET observed = (
    SELECT coalesce(jsonb_object_agg(portal ->> 'id', jsonb_build_object(
        'since', applied_at, 'adopted', false, 'reconciled_as_of', applied_at)), '{}')
    FROM jsonb_array_elements(document -> 'portals') AS portal
);

-- `known_as_of`: the instant that the latest evidence about the account speaks of.
ALTER TABLE account
    ADD COLUMN known_as_of timestamptz,
    ADD COLUMN last_login_at timestamptz,
    ADD COLUMN last_login_source text;

-- migrate: rollback
ALTER TABLE account DROP COLUMN known_as_of, DROP COLUMN last_login_at,
    DROP COLUMN last_login_source;
ALTER TABLE directory_version DROP COLUMN observed;
