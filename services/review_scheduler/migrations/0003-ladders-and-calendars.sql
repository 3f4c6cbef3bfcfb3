-- What opened a review and what policy says of it, who covers for whom, and campaigns by calendar.
-- depends: 0002-reviews

-- migrate: apply

-- What a campaign asks about and how: `calendar` is null for one opened by command. It is opened in
-- waves, a share of the workers each; those of `wave` are asked from `wave_opens_at` on.
ALTER TABLE campaign
    ADD COLUMN calendar text,
    ADD COLUMN scope jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN no_answer text NOT NULL DEFAULT 'escalate'
        CHECK (no_answer IN ('remove', 'suspend', 'escalate')),
    ADD COLUMN days_to_decide integer NOT NULL DEFAULT 14,
    ADD COLUMN waves integer NOT NULL DEFAULT 1,
    ADD COLUMN wave integer NOT NULL DEFAULT 0,
    ADD COLUMN wave_opens_at timestamptz,
    -- How many workers were in scope at the beginning, and how many of those have had their turn.
    ADD COLUMN population integer NOT NULL DEFAULT 0,
    ADD COLUMN seen integer NOT NULL DEFAULT 0,
    -- Entitlements in scope about which another campaign was asking already.
    ADD COLUMN elsewhere integer NOT NULL DEFAULT 0;
UPDATE campaign SET wave_opens_at = opened_at;
ALTER TABLE campaign ALTER COLUMN wave_opens_at SET NOT NULL;
DROP INDEX campaign_opening;
CREATE INDEX campaign_opening ON campaign (wave_opens_at) WHERE status = 'opening';

-- `rule` is what opened it. The counts are of its lines by status, so that a campaign of a million
-- lines is counted over its reviews.
ALTER TABLE review
    ADD COLUMN rule text NOT NULL DEFAULT 'role_changed',
    ADD COLUMN no_answer text NOT NULL DEFAULT 'escalate'
        CHECK (no_answer IN ('remove', 'suspend', 'escalate')),
    -- The rung of the ladder that was told last, in business days from the due day.
    ADD COLUMN rung integer,
    ADD COLUMN escalations integer NOT NULL DEFAULT 0,
    ADD COLUMN expired_at timestamptz,
    ADD COLUMN lines integer NOT NULL DEFAULT 0,
    ADD COLUMN undecided integer NOT NULL DEFAULT 0,
    ADD COLUMN kept integer NOT NULL DEFAULT 0,
    ADD COLUMN removal_decided integer NOT NULL DEFAULT 0,
    ADD COLUMN removal_ordered integer NOT NULL DEFAULT 0,
    ADD COLUMN removal_confirmed integer NOT NULL DEFAULT 0,
    ADD COLUMN moot integer NOT NULL DEFAULT 0;
UPDATE review SET rule = 'campaign' WHERE campaign_id IS NOT NULL;
UPDATE review SET lines = counted.lines, undecided = counted.undecided, kept = counted.kept,
    removal_decided = counted.removal_decided, removal_ordered = counted.removal_ordered,
    removal_confirmed = counted.removal_confirmed, moot = counted.moot
FROM (
    SELECT review_id, count(*) AS lines,
        count(*) FILTER (WHERE status = 'undecided') AS undecided,
        count(*) FILTER (WHERE status = 'kept') AS kept,
        count(*) FILTER (WHERE status = 'removal_decided') AS removal_decided,
        count(*) FILTER (WHERE status = 'removal_ordered') AS removal_ordered,
        count(*) FILTER (WHERE status = 'removal_confirmed') AS removal_confirmed,
        count(*) FILTER (WHERE status = 'moot') AS moot
    FROM line GROUP BY review_id
) AS counted WHERE review.review_id = counted.review_id;
ALTER TABLE review ALTER COLUMN rule DROP DEFAULT;
CREATE INDEX review_unclosed ON review (campaign_id) WHERE status <> 'closed';

-- A removal that follows from no answer has nobody who decided it.
ALTER TABLE line ADD COLUMN expired_at timestamptz;
ALTER TABLE line DROP CONSTRAINT line_check;
ALTER TABLE line ADD CONSTRAINT line_decided CHECK (
    status NOT IN ('kept', 'removal_decided', 'removal_ordered', 'removal_confirmed')
    OR decided_by IS NOT NULL OR expired_at IS NOT NULL);

-- Who may decide in a reviewer's place, from the first day to the last in the organization's zone.
CREATE TABLE delegation (
    delegation_id uuid PRIMARY KEY,
    organization text NOT NULL,
    reviewer text NOT NULL,
    delegate text NOT NULL,
    since date NOT NULL,
    until date NOT NULL,
    delegated_by text NOT NULL,
    delegated_at timestamptz NOT NULL,
    ended_at timestamptz,
    CHECK (since <= until),
    CHECK (reviewer <> delegate)
);
CREATE INDEX delegation_of_reviewer ON delegation (organization, reviewer, until);
CREATE INDEX delegation_to ON delegation (organization, delegate, until);

-- What opening rules compare a newer state with, and the occasions that wait until there is
-- something to ask about.
ALTER TABLE worker
    ADD COLUMN known jsonb,
    ADD COLUMN waiting jsonb NOT NULL DEFAULT '[]';

-- migrate: rollback

ALTER TABLE worker DROP COLUMN known, DROP COLUMN waiting;
DROP TABLE delegation;
ALTER TABLE line DROP CONSTRAINT line_decided;
ALTER TABLE line DROP COLUMN expired_at;
ALTER TABLE line ADD CONSTRAINT line_check CHECK (
    status NOT IN ('kept', 'removal_decided', 'removal_ordered', 'removal_confirmed')
    OR decided_by IS NOT NULL);
DROP INDEX review_unclosed;
ALTER TABLE review DROP COLUMN rule, DROP COLUMN no_answer, DROP COLUMN rung,
    DROP COLUMN escalations, DROP COLUMN expired_at, DROP COLUMN lines, DROP COLUMN undecided,
    DROP COLUMN kept, DROP COLUMN removal_decided, DROP COLUMN removal_ordered,
    DROP COLUMN removal_confirmed, DROP COLUMN moot;
DROP INDEX campaign_opening;
CREATE INDEX campaign_opening ON campaign (opened_at) WHERE status = 'opening';
ALTER TABLE campaign DROP COLUMN calendar, DROP COLUMN scope, DROP COLUMN no_answer,
    DROP COLUMN days_to_decide, DROP COLUMN waves, DROP COLUMN wave, DROP COLUMN wave_opens_at,
    DROP COLUMN population, DROP COLUMN seen, DROP COLUMN elsewhere;
