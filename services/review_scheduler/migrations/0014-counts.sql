-- What pages count over everybody is kept counted: a clinic holds millions of entitlements.
-- depends: 0013-removals-delayed

-- migrate: apply

-- What each worker holds now, one row an entitlement, with the day (UTC) on which somebody last
-- decided about it.
CREATE TABLE holding (
    organization text NOT NULL,
    worker text NOT NULL,
    portal text NOT NULL,
    tin text NOT NULL,
    function text NOT NULL,
    since timestamptz,
    decided_on date NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (organization, worker, portal, tin, function)
);
INSERT INTO holding (organization, worker, portal, tin, function, since)
SELECT organization, worker, held ->> 'portal', held -> 'entitlement' ->> 'tin',
    held -> 'entitlement' ->> 'function', min((held -> 'entitlement' ->> 'since')::timestamptz)
FROM worker, jsonb_array_elements(effective) AS held
GROUP BY 1, 2, 3, 4, 5;
UPDATE holding SET decided_on = decided.day
FROM (
    SELECT organization, worker, portal, tin, function,
        max((line.decided_at AT TIME ZONE 'UTC')::date) AS day
    FROM line JOIN review USING (review_id) WHERE line.decided_at IS NOT NULL
    GROUP BY organization, worker, portal, tin, function
) AS decided
WHERE (holding.organization, holding.worker, holding.portal, holding.tin, holding.function)
    = (decided.organization, decided.worker, decided.portal, decided.tin, decided.function);
CREATE INDEX holding_unreviewed
    ON holding (organization, decided_on, since NULLS FIRST, worker, portal, tin, function);

-- How many holdings of a portal were last decided about on a day. That is the sum of the rows of a
-- portal and a day: whoever writes takes the rows that nobody else holds and puts their sum back.
CREATE TABLE coverage (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization text NOT NULL,
    portal text NOT NULL,
    decided_on date NOT NULL,
    held bigint NOT NULL
);
INSERT INTO coverage (organization, portal, decided_on, held)
SELECT organization, portal, decided_on, count(*) FROM holding GROUP BY 1, 2, 3;
CREATE INDEX coverage_of_portal ON coverage (organization, portal, decided_on);

-- Of the lines, how many the review's own reviewer decided on and kept, and when last.
ALTER TABLE review
    ADD COLUMN worked_lines integer NOT NULL DEFAULT 0,
    ADD COLUMN worked_kept integer NOT NULL DEFAULT 0,
    ADD COLUMN worked_until timestamptz;
UPDATE review SET worked_lines = counted.worked_lines, worked_kept = counted.kept,
    worked_until = counted.worked_until
FROM (
    SELECT review_id, count(*) AS worked_lines, count(*) FILTER (WHERE decision = 'keep') AS kept,
        max(decided_at) AS worked_until
    FROM line JOIN review USING (review_id) WHERE decided_by = reviewer GROUP BY review_id
) AS counted WHERE review.review_id = counted.review_id;

-- When a campaign's lines were decided, by the quarter of an hour: days begin at one in every zone.
CREATE TABLE pace (
    campaign_id uuid NOT NULL,
    review_id uuid NOT NULL,
    quarter timestamptz NOT NULL,
    lines integer NOT NULL,
    PRIMARY KEY (campaign_id, review_id, quarter)
);
INSERT INTO pace (campaign_id, review_id, quarter, lines)
SELECT campaign_id, review_id, date_bin('15 minutes', decided_at, 'epoch'), count(*)
FROM line JOIN review USING (review_id)
WHERE campaign_id IS NOT NULL AND decided_at IS NOT NULL AND line.status <> 'moot'
GROUP BY 1, 2, 3;

-- How its lines stood when a campaign closed, after which none moves; null before.
ALTER TABLE campaign ADD COLUMN counted jsonb;

-- Dormant logins are kept now and then only.
CREATE INDEX line_dormant_keep ON line (decided_at)
    WHERE decision = 'keep' AND 'dormant' = ANY (risks);

-- migrate: rollback

DROP INDEX line_dormant_keep;
ALTER TABLE campaign DROP COLUMN counted;
DROP TABLE pace;
ALTER TABLE review DROP COLUMN worked_lines, DROP COLUMN worked_kept, DROP COLUMN worked_until;
DROP TABLE coverage, holding;
