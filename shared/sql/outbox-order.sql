-- One index for the outbox: the relay reads and deletes by shard, in order of ids.
-- depends: 0001-machinery

-- migrate: apply

DROP INDEX outbox_shard;
ALTER TABLE outbox DROP CONSTRAINT outbox_pkey, ADD PRIMARY KEY (shard, id);
-- A message is deleted as soon as Kafka has it: compressing it first would be for nothing.
ALTER TABLE outbox SET (toast_tuple_target = 8160);

-- migrate: rollback
ALTER TABLE outbox RESET (toast_tuple_target);
ALTER TABLE outbox DROP CONSTRAINT outbox_pkey, ADD PRIMARY KEY (id);
CREATE INDEX outbox_shard ON outbox (shard, id);
