-- Whom a session goes with when they leave, also where the provider names no worker.
-- depends: 0012-vendors

-- migrate: apply

-- The worker as provisioning knows them: by the id that the sign-in names, or else by its e-mail.
ALTER TABLE session ADD COLUMN person text;
ALTER TABLE sign_in_link ADD COLUMN person text;
CREATE INDEX session_of_person ON session (organization, person) WHERE closed_at IS NULL;
CREATE INDEX known_worker_email ON known_worker (organization, lower(state ->> 'email'));
CREATE INDEX known_worker_merged ON known_worker (organization, merged_into)
    WHERE merged_into IS NOT NULL;

-- migrate: rollback
DROP INDEX known_worker_merged, known_worker_email;
ALTER TABLE sign_in_link DROP COLUMN person;
ALTER TABLE session DROP COLUMN person;
