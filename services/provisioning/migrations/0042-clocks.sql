-- When a login dies for want of use, as far as that is known; portals that do not work.
-- depends: 0010-observing

-- migrate: apply

ALTER TABLE account ADD COLUMN lapses_at timestamptz;
CREATE INDEX account_lapses ON account (organization, lapses_at) WHERE lapses_at IS NOT NULL;

CREATE TABLE outage (
    organization text NOT NULL,
    outage_id uuid NOT NULL,
    portal text NOT NULL,
    kind text NOT NULL,
    note text NOT NULL,
    started_by text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_by text,
    ended_at timestamptz,
    PRIMARY KEY (organization, outage_id)
);
-- One at a time per portal: what is down is down.
CREATE UNIQUE INDEX outage_open ON outage (organization, portal) WHERE ended_at IS NULL;

CREATE TABLE incident (
    organization text NOT NULL,
    incident_id uuid NOT NULL,
    portal text NOT NULL,
    worker text,
    kind text NOT NULL,
    note text NOT NULL,
    reported_by text NOT NULL,
    reported_at timestamptz NOT NULL,
    PRIMARY KEY (organization, incident_id)
);
CREATE INDEX incident_recent ON incident (organization, reported_at);

-- migrate: rollback
DROP TABLE incident, outage;
ALTER TABLE account DROP COLUMN lapses_at;
