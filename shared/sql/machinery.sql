-- The machinery of every service that consumes or publishes: offsets, outbox, timers.
-- depends:

-- migrate: apply

-- The truth about what this service has applied, advanced in the transaction that applied it.
CREATE TABLE source_offset (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    -- Identity of the last applied record, to notice a topic that was recreated or truncated.
    last_timestamp bigint,
    last_sha256 bytea,
    -- Records below this offset that are gone were accepted as lost by an operator.
    accepted_until bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (consumer_group, topic, partition)
);

CREATE TABLE refused_partition (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, topic, partition)
);

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shard smallint NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    headers bytea NOT NULL,
    value bytea
);
CREATE INDEX outbox_shard ON outbox (shard, id);

-- One row per key whose order no other row lock protects.
CREATE TABLE outbox_key (
    topic text NOT NULL,
    key text NOT NULL,
    PRIMARY KEY (topic, key)
);

CREATE TABLE timer (
    kind text NOT NULL,
    key text NOT NULL,
    due_at timestamptz NOT NULL,
    payload jsonb NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX timer_due ON timer (due_at);

-- The answer given to a command, so that the same command sent again changes nothing.
CREATE TABLE idempotency (
    organization text NOT NULL,
    principal text NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    body_sha256 bytea NOT NULL,
    response jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization, principal, route, key)
);

-- migrate: rollback
DROP TABLE idempotency, timer, outbox_key, outbox, refused_partition, source_offset;
