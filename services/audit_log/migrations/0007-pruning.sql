-- A prefix of the log may be pruned; what is held is kept aside. A log may follow another.
-- depends: 0006-holds

-- migrate: apply

-- How many entries a partition of `entry` spans; a partition is what is pruned at a time.
CREATE TABLE log_shape (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    span bigint NOT NULL CHECK (span > 0 AND span % 256 = 0)
);
INSERT INTO log_shape (span) VALUES (4194304);

CREATE OR REPLACE FUNCTION add_entry_partitions(until bigint) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    span bigint;
    first bigint;
    name text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(7012027);
    SELECT log_shape.span INTO span FROM log_shape;
    FOR number IN coalesce((SELECT pruned FROM log_head), 0) / span .. until / span LOOP
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

-- Entries of pruned partitions that a hold or somebody's access keeps.
CREATE TABLE held_entry (LIKE entry INCLUDING ALL);
CREATE TRIGGER held_entry_is_append_only BEFORE UPDATE OR DELETE ON held_entry
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER held_entry_is_kept BEFORE TRUNCATE ON held_entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The log before this one, if there was one: its first entry will carry this note.
CREATE TABLE predecessor (
    origin text PRIMARY KEY,
    schema_name text NOT NULL,
    note text NOT NULL,
    frozen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

GRANT SELECT ON log_shape, held_entry, predecessor TO audit_log;
GRANT SELECT ON held_entry TO audit_search;

-- migrate: rollback

DROP TABLE predecessor, held_entry, log_shape;
