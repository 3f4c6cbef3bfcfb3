-- A campaign's page counts removals past their date, of which there are few among many lines.
-- depends: 0010-deciding 0012-outbox-order

-- migrate: apply
CREATE INDEX line_delayed ON line (review_id)
    WHERE overdue_at IS NOT NULL AND status IN ('removal_decided', 'removal_ordered');

-- migrate: rollback
DROP INDEX line_delayed;
