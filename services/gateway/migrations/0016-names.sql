-- What the directory calls duties, modules and sources is kept by now: what was passed over is read again.
-- depends: 0015-vendor-tokens

-- migrate: apply

-- The topic is compacted, and what is known already stays as it is.
DELETE FROM source_offset WHERE topic = 'portal.directory-events.v1';

-- migrate: rollback

SELECT 1;
