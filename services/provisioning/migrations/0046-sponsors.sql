-- Who answers for somebody who is not staff, and whether they had left when that was last decided.
-- depends: 0002-provisioning

-- migrate: apply

CREATE TABLE sponsorship (
    organization text NOT NULL,
    worker text NOT NULL,
    sponsor text NOT NULL,
    has_left boolean NOT NULL,
    PRIMARY KEY (organization, worker, sponsor)
);

-- migrate: rollback
DROP TABLE sponsorship;
