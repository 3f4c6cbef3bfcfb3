-- What nobody answered in time is removed under the brake, by the campaign or review it was asked in.
-- depends: 0041-brake

-- migrate: apply

-- `cause_id` is that of a line that expired; `consequence` is given while nobody has decided since.
ALTER TABLE review_decision
    ADD COLUMN cause_id text,
    ADD COLUMN consequence text CHECK (consequence IN ('remove', 'suspend'));
CREATE INDEX review_decision_cause ON review_decision (organization, cause_id)
    WHERE cause_id IS NOT NULL;

-- With how many expired lines the cause is whole; null while that is not known.
ALTER TABLE brake_cause ADD COLUMN lines integer;

-- migrate: rollback
ALTER TABLE brake_cause DROP COLUMN lines;
ALTER TABLE review_decision DROP COLUMN cause_id, DROP COLUMN consequence;
