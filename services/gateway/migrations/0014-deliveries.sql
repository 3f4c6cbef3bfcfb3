-- What a vendor's delivery came to, and who had it looked at again.
-- depends: 0013-departures

-- migrate: apply

-- How many HR events it came to; null until it is done.
ALTER TABLE vendor_delivery ADD COLUMN events integer;
ALTER TABLE vendor_delivery ADD COLUMN replayed_by text;

-- migrate: rollback
ALTER TABLE vendor_delivery DROP COLUMN replayed_by, DROP COLUMN events;
