-- Questions to somebody who knows more, and reviewers who said that a review is not theirs.
-- depends: 0010-deciding

-- migrate: apply

ALTER TABLE review ADD COLUMN declined text[] NOT NULL DEFAULT '{}';

-- One line at a time; it comes back with an answer, and whoever asked decides.
CREATE TABLE question (
    question_id uuid PRIMARY KEY,
    organization text NOT NULL,
    line_id uuid NOT NULL REFERENCES line,
    asked text NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamptz NOT NULL,
    words text NOT NULL,
    advice text CHECK (advice IN ('keep', 'remove', 'ask')),
    answer text,
    answered_by text,
    answered_at timestamptz
);
CREATE INDEX question_of_line ON question (line_id);
CREATE INDEX question_waiting ON question (organization, asked) WHERE answered_at IS NULL;

-- migrate: rollback

DROP TABLE question;
ALTER TABLE review DROP COLUMN declined;
