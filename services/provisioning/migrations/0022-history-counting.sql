-- Who could see what at a portal is counted from an index alone, whoever answers for it included.
-- depends: 0020-entitlement-history

-- migrate: apply

ALTER TABLE entitlement_history
    ADD COLUMN authority_kind text,
    ADD COLUMN authority_reference text,
    ADD COLUMN authority_by text;
UPDATE entitlement_history
    SET authority_kind = authorized_by ->> 'kind',
        authority_reference = authorized_by ->> 'reference',
        authority_by = authorized_by ->> 'by'
    WHERE authorized_by IS NOT NULL;
ALTER TABLE entitlement_history
    DROP COLUMN authorized_by,
    ALTER COLUMN source_event TYPE uuid USING source_event::uuid,
    ALTER COLUMN ending_event TYPE uuid USING ending_event::uuid;

-- Holds all that counting needs: a hundred thousand people are counted without visiting their rows.
DROP INDEX entitlement_history_portal;
CREATE INDEX entitlement_history_portal
    ON entitlement_history (organization, portal, function, valid_from)
    INCLUDE (valid_until, known_from, known_until, worker, grade,
             authority_kind, authority_reference, authority_by);

-- migrate: rollback

DROP INDEX entitlement_history_portal;
CREATE INDEX entitlement_history_portal
    ON entitlement_history (organization, portal, worker, valid_from);
ALTER TABLE entitlement_history ADD COLUMN authorized_by jsonb;
UPDATE entitlement_history
    SET authorized_by = jsonb_build_object(
        'kind', authority_kind, 'reference', authority_reference, 'by', authority_by)
    WHERE authority_kind IS NOT NULL;
ALTER TABLE entitlement_history
    DROP COLUMN authority_kind,
    DROP COLUMN authority_reference,
    DROP COLUMN authority_by,
    ALTER COLUMN source_event TYPE text,
    ALTER COLUMN ending_event TYPE text;
