-- What lists show of a worker, apart from the state; indexes for lists of work.
-- depends: 0043-notices 0052-departures 0021-chores

-- migrate: apply

-- A list over everybody reads a hundred bytes of each instead of kilobytes.
CREATE TABLE listed_worker (
    organization text NOT NULL,
    worker text NOT NULL,
    name text,
    status text NOT NULL,
    title text,
    duties text[] NOT NULL,
    sites text[] NOT NULL,
    -- Worker id, name and titles in small letters, for searching.
    words text COLLATE "C" NOT NULL,
    blocked boolean NOT NULL,
    findings integer NOT NULL,
    training_due_at timestamptz,
    -- On how many portals something is known or wanted, usable, and exposed.
    portals_known integer,
    portals_usable integer,
    portals_exposed integer,
    PRIMARY KEY (organization, worker)
) WITH (fillfactor = 80);
CREATE INDEX listed_worker_findings ON listed_worker (organization, worker) WHERE findings > 0;
-- Counting everybody reads this alone.
CREATE INDEX listed_worker_counted
    ON listed_worker (organization, status, portals_usable, findings);
CREATE INDEX listed_worker_training ON listed_worker (organization, training_due_at, worker)
    WHERE training_due_at IS NOT NULL;

INSERT INTO listed_worker
SELECT worker.organization, worker.worker, worker.name, worker.status, shown.employments -> 0 ->> 'title',
    ARRAY(SELECT jsonb_array_elements_text(worker.state::jsonb -> 'duties')),
    ARRAY(SELECT DISTINCT site FROM jsonb_array_elements(shown.employments) AS employment,
              jsonb_array_elements_text(employment -> 'sites') AS site ORDER BY site),
    lower(concat_ws(E'\n', worker.worker, worker.name,
        (SELECT string_agg(employment ->> 'title', E'\n' ORDER BY position)
         FROM jsonb_array_elements(shown.employments) WITH ORDINALITY
             AS each (employment, position)))),
    coalesce((worker.state ->> 'blocked')::boolean, false),
    jsonb_array_length(worker.findings),
    (SELECT min((due ->> 'due_at')::timestamptz)
     FROM json_array_elements(worker.state -> 'training_due') AS due),
    json_array_length(worker.portals),
    (SELECT count(*) FROM json_array_elements(worker.portals) AS access
     WHERE json_array_length(access -> 'effective') > 0),
    (SELECT count(*) FROM json_array_elements(worker.portals) AS access
     WHERE access ->> 'exposed_since' IS NOT NULL)
FROM worker,
    LATERAL (SELECT worker.state::jsonb -> 'employments' AS employments) AS had,
    LATERAL (SELECT CASE WHEN had.employments @> '[{"open": true}]'
                 THEN jsonb_path_query_array(had.employments, '$[*] ? (@.open == true)')
                 ELSE jsonb_path_query_array(had.employments, '$[last]') END AS employments
            ) AS shown
WHERE worker.state IS NOT NULL AND worker.merged_into IS NULL;

-- Departures by their removals, the latest first; two indexes were alike.
CREATE INDEX operation_departed ON operation (organization, requested_at DESC, worker)
    WHERE rule = 'employment_ended';
DROP INDEX IF EXISTS operation_departure, operation_departures;

-- Work that ended, the latest first; open work of one portal.
CREATE INDEX operation_ended ON operation (organization, ended_at, operation_id)
    WHERE ended_at IS NOT NULL;
CREATE INDEX chore_ended ON chore (organization, ended_at, chore_id) WHERE ended_at IS NOT NULL;
CREATE INDEX operation_portal_queue ON operation
    (organization, portal, deadline, rank, operation_id)
    WHERE status IN ('requested', 'claimed', 'superseded');

-- migrate: rollback
CREATE INDEX operation_departures ON operation (organization, requested_at)
    WHERE rule = 'employment_ended';
CREATE INDEX IF NOT EXISTS operation_departure ON operation (organization, requested_at)
    WHERE rule = 'employment_ended';
DROP INDEX operation_departed;
DROP INDEX operation_portal_queue, chore_ended, operation_ended;
DROP TABLE listed_worker;
