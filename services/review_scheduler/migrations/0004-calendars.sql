-- The timer of an organization's quarters becomes that of one of its calendars.
-- depends: 0003-ladders-and-calendars

-- migrate: apply

UPDATE timer SET kind = 'calendar', key = key || '/quarterly' WHERE kind = 'quarter';

-- migrate: rollback

DELETE FROM timer WHERE kind = 'calendar' AND key NOT LIKE '%/quarterly';
UPDATE timer SET kind = 'quarter', key = split_part(key, '/', 1) WHERE kind = 'calendar';
