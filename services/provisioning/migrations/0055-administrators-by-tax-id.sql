-- Appointments are known per tax id, since whoever serves others covers nobody.
-- depends: 0054-event-variants

-- migrate: apply

ALTER TABLE administrator_standing ADD COLUMN tin text NOT NULL DEFAULT '';
ALTER TABLE administrator_standing
    DROP CONSTRAINT administrator_standing_pkey,
    ADD PRIMARY KEY (organization, portal, tin, worker, since);
INSERT INTO administrator_standing (organization, portal, tin, worker, since, until, leaves_at)
SELECT DISTINCT organization, portal, served.tin, worker, since, until, leaves_at
FROM administrator_standing AS known
JOIN directory_head USING (organization)
JOIN directory_version USING (organization, version),
LATERAL jsonb_array_elements(document -> 'administrators') AS appointed,
LATERAL jsonb_array_elements_text(coalesce(
    nullif(appointed -> 'tins', '[]'),
    (SELECT jsonb_agg(DISTINCT enrolment -> 'tin')
     FROM jsonb_array_elements(document -> 'enrolments') AS enrolment
     WHERE enrolment ->> 'portal' = known.portal),
    document -> 'organization' -> 'tins'
)) AS served (tin)
WHERE known.tin = '' AND appointed ->> 'portal' = portal AND appointed ->> 'worker' = worker
  AND (appointed ->> 'since')::date
      = (since AT TIME ZONE (document -> 'organization' ->> 'zone'))::date;
DELETE FROM administrator_standing WHERE tin = '';
ALTER TABLE administrator_standing ALTER COLUMN tin DROP DEFAULT;

-- migrate: rollback
DELETE FROM administrator_standing AS one USING administrator_standing AS other
WHERE (one.organization, one.portal, one.worker, one.since)
    = (other.organization, other.portal, other.worker, other.since) AND one.tin > other.tin;
ALTER TABLE administrator_standing
    DROP CONSTRAINT administrator_standing_pkey,
    ADD PRIMARY KEY (organization, portal, worker, since),
    DROP COLUMN tin;
