-- Findings by the login and by the holder they are about: what is published of a worker tells them.
-- depends: 0011-adoption-and-rosters

-- migrate: apply

CREATE INDEX portal_finding_login ON portal_finding (organization, portal, subject)
    WHERE resolved_at IS NULL;
CREATE INDEX portal_finding_holder ON portal_finding (organization, portal, worker)
    WHERE resolved_at IS NULL;

-- migrate: rollback

DROP INDEX portal_finding_login, portal_finding_holder;
