-- Which rejected events were judged again after a fix, and accepted.
-- depends: 0003-ingress

-- migrate: apply

ALTER TABLE rejected_body ADD COLUMN replayed_at timestamptz, ADD COLUMN replayed_by text;

-- migrate: rollback
ALTER TABLE rejected_body DROP COLUMN replayed_at, DROP COLUMN replayed_by;
