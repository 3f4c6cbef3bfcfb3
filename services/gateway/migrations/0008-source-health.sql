-- On which days a source was heard. Wrong signatures are nobody's: both names are empty then.
-- depends: 0007-rosters

-- migrate: apply

CREATE TABLE source_day (
    organization text NOT NULL,
    source text NOT NULL,
    day date NOT NULL,
    accepted bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    wrong_signatures bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, source, day)
);

-- migrate: rollback
DROP TABLE source_day;
