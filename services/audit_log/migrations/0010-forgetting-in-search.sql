-- A projection that is made again must know who was erased.
-- depends: 0009-forgetting

-- migrate: apply

GRANT SELECT ON erasure TO audit_search;

-- migrate: rollback

REVOKE SELECT ON erasure FROM audit_search;
