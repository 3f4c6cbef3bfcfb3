-- By when portals want their users confirmed, as it was published last.
-- depends: 0002-provisioning

-- migrate: apply

CREATE TABLE portal_clock (
    organization text NOT NULL,
    portal text NOT NULL,
    recertify_by date NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (organization, portal)
);

-- migrate: rollback
DROP TABLE portal_clock;
