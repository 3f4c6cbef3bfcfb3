-- The log: entries and tiles that are only ever appended, and the few rows that move.
-- depends: 0001-machinery

-- migrate: apply

-- Where the log stands. The dense index is handed out under this row's lock, which is taken last.
CREATE TABLE log_head (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    origin text NOT NULL,
    size bigint NOT NULL DEFAULT 0 CHECK (size >= 0)
);

-- One record or gap each. The leaf is public; the payload is encrypted under the key at slot
-- `key_slot` of the key store, which is outside the database so that a key can be destroyed.
CREATE TABLE entry (
    index bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    key_slot bigint,
    leaf bytea NOT NULL CHECK (octet_length(leaf) <= 4096),
    payload bytea,
    PRIMARY KEY (index),
    CHECK ((key_slot IS NULL) = (payload IS NULL))
) PARTITION BY RANGE (index);

-- Neither compresses: commitments and ciphertext are as good as random.
ALTER TABLE entry ALTER COLUMN leaf SET STORAGE EXTERNAL;
ALTER TABLE entry ALTER COLUMN payload SET STORAGE EXTERNAL;

-- Full tiles: 256 hashes of 32 bytes.
CREATE TABLE tile (
    level smallint NOT NULL,
    index bigint NOT NULL,
    hashes bytea NOT NULL CHECK (octet_length(hashes) = 8192),
    PRIMARY KEY (level, index)
);
ALTER TABLE tile ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- The partial tile at the right end of each level, rewritten as the log grows.
CREATE TABLE tile_edge (
    level smallint PRIMARY KEY,
    index bigint NOT NULL,
    hashes bytea NOT NULL CHECK (octet_length(hashes) < 8192 AND octet_length(hashes) % 32 = 0)
);
ALTER TABLE tile_edge ALTER COLUMN hashes SET STORAGE EXTERNAL;
ALTER TABLE tile_edge SET (fillfactor = 50, autovacuum_vacuum_threshold = 1000);

-- What the signer has signed: written by the signer alone.
CREATE TABLE checkpoint (
    size bigint PRIMARY KEY,
    note text NOT NULL,
    verifier_key text NOT NULL,
    signed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- For finding entries. It can be recomputed from the payloads, and unlike them it can be removed.
-- `identity` is 64 bits of a hash of what makes an event the same event again.
CREATE TABLE search (
    index bigint PRIMARY KEY,
    organization text NOT NULL,
    type text NOT NULL,
    topic text NOT NULL,
    subject text NOT NULL,
    identity bigint
);
CREATE INDEX search_subject ON search (hashtextextended(subject, 0), index);
CREATE INDEX search_identity ON search (identity);

-- Which blocks of 1,024 entries hold a term (an organization, or one with a type or topic): few
-- rows, so that looking for what is rare does not read what is common.
CREATE TABLE search_block (
    term bigint NOT NULL,
    block bigint NOT NULL,
    PRIMARY KEY (term, block)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER entry_is_append_only BEFORE UPDATE OR DELETE ON entry
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entry_is_kept BEFORE TRUNCATE ON entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER tile_is_append_only BEFORE UPDATE OR DELETE ON tile
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER tile_is_kept BEFORE TRUNCATE ON tile
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER checkpoint_is_append_only BEFORE UPDATE OR DELETE ON checkpoint
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER checkpoint_is_kept BEFORE TRUNCATE ON checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A log neither shrinks nor changes its name, whoever asks.
CREATE FUNCTION refuse_shrinking() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'UPDATE' OR NEW.size < OLD.size OR NEW.origin <> OLD.origin THEN
        RAISE EXCEPTION 'the log neither shrinks nor changes its origin: % refused', TG_OP
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER log_head_only_grows BEFORE UPDATE OR DELETE ON log_head
    FOR EACH ROW EXECUTE FUNCTION refuse_shrinking();
CREATE TRIGGER log_head_is_kept BEFORE TRUNCATE ON log_head
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Makes the partitions of `entry` up to the one that holds `until`, 4,194,304 entries each. The
-- writer may call it but not create tables. Attaching takes a lock that lets appends go on.
CREATE FUNCTION add_entry_partitions(until bigint) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    span CONSTANT bigint := 4194304;
    first bigint;
    name text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(7012027);
    FOR number IN 0 .. until / span LOOP
        name := 'entry_' || to_char(number, 'FM000000');
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        first := number * span;
        EXECUTE format('CREATE TABLE %I (LIKE entry INCLUDING ALL)', name);
        EXECUTE format(
            'ALTER TABLE %I ADD CONSTRAINT range CHECK (index >= %s AND index < %s)',
            name, first, first + span);
        EXECUTE format(
            'CREATE TRIGGER entry_is_kept BEFORE TRUNCATE ON %I
                 FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', name);
        EXECUTE format(
            'ALTER TABLE entry ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
            name, first, first + span);
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT range', name);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;
REVOKE EXECUTE ON FUNCTION add_entry_partitions(bigint) FROM PUBLIC;

SELECT add_entry_partitions(4194304);

GRANT SELECT, INSERT, UPDATE, DELETE
    ON source_offset, refused_partition, outbox, outbox_key TO audit_log;
GRANT SELECT, INSERT ON entry, tile, search, search_block TO audit_log;
GRANT SELECT, INSERT, UPDATE (size) ON log_head TO audit_log;
GRANT SELECT, INSERT, UPDATE (index, hashes) ON tile_edge TO audit_log;
GRANT SELECT ON checkpoint TO audit_log;
GRANT EXECUTE ON FUNCTION add_entry_partitions(bigint) TO audit_log;

GRANT SELECT ON log_head, entry, tile, tile_edge TO audit_signer;
GRANT SELECT, INSERT ON checkpoint TO audit_signer;

-- migrate: rollback

DROP FUNCTION add_entry_partitions(bigint);
DROP TABLE search_block, search, checkpoint, tile_edge, tile, entry, log_head;
DROP FUNCTION refuse_shrinking();
DROP FUNCTION refuse_change();
