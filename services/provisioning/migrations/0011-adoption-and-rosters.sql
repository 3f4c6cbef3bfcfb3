-- Sheets that were adopted, user lists that were imported, and what both showed.
-- depends: 0010-observing

-- migrate: apply

-- Files as they came, by their hash: what was said is evidence.
CREATE TABLE imported_file (
    organization text NOT NULL,
    sha256 text NOT NULL,
    name text NOT NULL,
    content bytea NOT NULL,
    stored_at timestamptz NOT NULL,
    PRIMARY KEY (organization, sha256)
);

-- Previews; an apply names one by its hash and is refused where it would do something else now.
CREATE TABLE import_plan (
    organization text NOT NULL,
    plan text NOT NULL,
    kind text NOT NULL,
    portal text,
    file_sha256 text NOT NULL,
    options jsonb NOT NULL,
    document jsonb NOT NULL,
    previewed_by text NOT NULL,
    previewed_at timestamptz NOT NULL,
    applied_by text,
    applied_at timestamptz,
    PRIMARY KEY (organization, plan)
);

-- What columns, words and names mean, per portal ('' for the administrator's own sheet).
CREATE TABLE import_meaning (
    organization text NOT NULL,
    portal text NOT NULL,
    columns jsonb NOT NULL DEFAULT '{}',
    answers jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (organization, portal)
);

-- What sheets said, each as of its day, also where something better is known by now.
CREATE TABLE adopted_login (
    organization text NOT NULL,
    portal text NOT NULL,
    worker text NOT NULL,
    as_of timestamptz NOT NULL,
    adoption_id text NOT NULL,
    line integer NOT NULL,
    login_id text,
    status text NOT NULL,
    rights jsonb NOT NULL,
    valid_from timestamptz,
    valid_until timestamptz,
    PRIMARY KEY (organization, portal, worker, as_of)
);

CREATE TABLE adoption (
    organization text NOT NULL,
    adoption_id text NOT NULL,
    plan text NOT NULL,
    file_sha256 text NOT NULL,
    file_name text NOT NULL,
    as_of timestamptz NOT NULL,
    adopted_by text NOT NULL,
    adopted_at timestamptz NOT NULL,
    counts jsonb NOT NULL,
    PRIMARY KEY (organization, adoption_id)
);

CREATE TABLE roster (
    organization text NOT NULL,
    portal text NOT NULL,
    roster_id text NOT NULL,
    plan text NOT NULL,
    file_sha256 text NOT NULL,
    file_name text NOT NULL,
    as_of timestamptz NOT NULL,
    complete boolean NOT NULL,
    imported_by text NOT NULL,
    imported_at timestamptz NOT NULL,
    counts jsonb NOT NULL,
    PRIMARY KEY (organization, portal, roster_id)
);

-- Each login as the latest list that has it (or lacks it, where the list was whole) shows it.
CREATE TABLE portal_login (
    organization text NOT NULL,
    portal text NOT NULL,
    login_key text NOT NULL,
    login_id text NOT NULL,
    name text NOT NULL,
    email text NOT NULL,
    worker text,
    status text NOT NULL,
    last_login_at timestamptz,
    as_of timestamptz NOT NULL,
    source_id text NOT NULL,
    PRIMARY KEY (organization, portal, login_key)
);
CREATE INDEX portal_login_worker ON portal_login (organization, worker);

-- What a sheet or list showed and a person should look at. Raised once, resolved once.
CREATE TABLE portal_finding (
    finding_id uuid PRIMARY KEY,
    organization text NOT NULL,
    portal text NOT NULL,
    subject text NOT NULL,
    rule text NOT NULL,
    detail text NOT NULL,
    next_step text NOT NULL,
    worker text,
    source_id text NOT NULL,
    raised_at timestamptz NOT NULL,
    resolved_at timestamptz,
    resolved_by text
);
CREATE INDEX portal_finding_portal ON portal_finding (organization, portal, rule);

-- migrate: rollback
DROP TABLE portal_finding, portal_login, roster, adoption, adopted_login, import_meaning,
    import_plan, imported_file;
