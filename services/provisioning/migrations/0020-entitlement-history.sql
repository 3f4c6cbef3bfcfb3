-- What each portal held for whom, over two times: when it was so, and when that became known.
-- depends: 0002-provisioning

-- migrate: apply

-- A row says: from `valid_from` until `valid_until` the portal held this entitlement, as far as
-- evidence tells; that was known from `known_from` until `known_until`, when something else became
-- known of that stretch. Rows are only ever added and, once overtaken, closed.
CREATE TABLE entitlement_history (
    organization text NOT NULL,
    worker text NOT NULL,
    portal text NOT NULL,
    tin text NOT NULL,
    function text NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_until timestamptz NOT NULL DEFAULT 'infinity',
    known_from timestamptz NOT NULL,
    known_until timestamptz NOT NULL DEFAULT 'infinity',
    -- Since when without interruption; earlier than `valid_from` where only the evidence changed.
    held_since timestamptz NOT NULL,
    grade text NOT NULL,
    authorized_by jsonb,
    login_id text,
    -- The operation or adoption that granted it.
    granted_by text NOT NULL,
    -- The operation, adoption or roster that is the evidence, who said so, and in which event.
    source_id text NOT NULL,
    said_by text NOT NULL,
    source_event text NOT NULL,
    -- The same of its end, where it ended.
    ended_by text,
    end_said_by text,
    ending_event text,
    PRIMARY KEY (organization, worker, portal, tin, function, valid_from, known_from),
    CHECK (valid_from < valid_until),
    CHECK (known_from < known_until)
);
CREATE INDEX entitlement_history_portal
    ON entitlement_history (organization, portal, worker, valid_from);

-- migrate: rollback
DROP TABLE entitlement_history;
