-- Workers of whom something was heard that nobody has decided about yet.
-- depends: 0002-provisioning

-- migrate: apply

-- One row per worker and batch, written with the batch's events and taken by whoever decides about
-- the worker. By shard, so that several deciders at once do not wait for each other's workers.
CREATE TABLE undecided (
    shard smallint NOT NULL,
    organization text NOT NULL,
    worker text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    -- Ids of the events that were heard: what is ordered names them.
    events text[] NOT NULL,
    -- Why deciding failed; tried again when more is heard of the worker, or by the sweep.
    failed text,
    PRIMARY KEY (shard, organization, worker, id)
);
CREATE INDEX undecided_failed ON undecided (failed) WHERE failed IS NOT NULL;

-- migrate: rollback
DROP TABLE undecided;
