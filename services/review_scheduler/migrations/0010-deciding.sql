-- What deciding needs: logins as they are, what reviewers were shown, and removals followed.
-- depends: 0002-reviews

-- migrate: apply

-- What is known of the worker's logins: last use, what policy gives, findings, removals under way.
ALTER TABLE worker ADD COLUMN logins jsonb NOT NULL DEFAULT '[]';

-- When the reviewer first looked at it.
ALTER TABLE review ADD COLUMN read_at timestamptz;

ALTER TABLE line
    -- As shown to whoever decided last.
    ADD COLUMN risks text[] NOT NULL DEFAULT '{}',
    ADD COLUMN advice text,
    -- A removal: since when it is ordered, by when the portal must show it, since when it does.
    ADD COLUMN ordered_at timestamptz,
    ADD COLUMN removal_due_at timestamptz,
    ADD COLUMN overdue_at timestamptz,
    ADD COLUMN removed_at timestamptz,
    ADD COLUMN removed_grade text;

-- migrate: rollback

ALTER TABLE line DROP COLUMN risks, DROP COLUMN advice, DROP COLUMN ordered_at,
    DROP COLUMN removal_due_at, DROP COLUMN overdue_at, DROP COLUMN removed_at,
    DROP COLUMN removed_grade;
ALTER TABLE review DROP COLUMN read_at;
ALTER TABLE worker DROP COLUMN logins;
