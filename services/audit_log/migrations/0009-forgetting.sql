-- What was erased is forgotten by the tables beside the log as well.
-- depends: 0007-pruning 0008-outbox-order

-- migrate: apply

GRANT DELETE ON worker_access TO audit_log;
GRANT UPDATE (subject, reason, release_reason) ON hold TO audit_log;

-- migrate: rollback

REVOKE UPDATE (subject, reason) ON hold FROM audit_log;
REVOKE DELETE ON worker_access FROM audit_log;
