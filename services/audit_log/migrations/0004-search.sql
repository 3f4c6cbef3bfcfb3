-- Search moves out of the log's schema, into a projection under a role of its own.
-- depends: 0003-keeping

-- migrate: apply

DROP TABLE search_block, search;
GRANT SELECT ON entry, log_head TO audit_search;

-- migrate: rollback

REVOKE SELECT ON entry, log_head FROM audit_search;
