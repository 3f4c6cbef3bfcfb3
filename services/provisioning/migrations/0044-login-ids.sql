-- Whose a login id is, on a portal.
-- depends: 0002-provisioning

-- migrate: apply
CREATE INDEX account_login_id ON account (organization, portal, lower(login_id))
    WHERE login_id IS NOT NULL;

-- migrate: rollback
DROP INDEX account_login_id;
