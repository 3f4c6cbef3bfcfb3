"""The rows behind a consumer: how far each partition was applied, and which were refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
from aiokafka import TopicPartition

from shared.kafka.records import Gap, record_digest
from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Position:
    """How far a partition was applied: the next offset, and the last record before it, if any."""

    next_offset: int
    record: Any | None


class Offsets:
    """The offset rows of one consumer group."""

    def __init__(self, group: str) -> None:
        self._group = group

    async def open(self, conn: Connection, tp: TopicPartition, log_start: int) -> Any:
        """`next_offset`, `accepted_until` and `refused` of a partition; new ones begin at the log.

        Waits for a transaction that is advancing the row, wherever it runs.
        """
        return await conn.fetchrow(
            """
            WITH opened AS (
                INSERT INTO source_offset (consumer_group, topic, partition, next_offset)
                VALUES ($1, $2, $3, $4)
                ON CONFLICT (consumer_group, topic, partition)
                DO UPDATE SET next_offset = source_offset.next_offset
                RETURNING next_offset, accepted_until
            )
            SELECT next_offset, accepted_until, EXISTS (
                SELECT 1 FROM refused_partition
                WHERE consumer_group = $1 AND topic = $2 AND partition = $3
            ) AS refused
            FROM opened
            """,
            self._group,
            tp.topic,
            tp.partition,
            log_start,
        )

    async def lock(
        self, conn: Connection, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, Any]:
        """The rows, locked in the order every writer takes."""
        rows = await conn.fetch(
            """
            SELECT topic, partition, next_offset, last_timestamp, last_sha256, accepted_until
            FROM source_offset
            WHERE consumer_group = $1
              AND (topic, partition) IN (SELECT * FROM unnest($2::text[], $3::integer[]))
            ORDER BY topic, partition FOR UPDATE
            """,
            self._group,
            [tp.topic for tp in partitions],
            [tp.partition for tp in partitions],
        )
        return {TopicPartition(row["topic"], row["partition"]): row for row in rows}

    async def store(self, conn: Connection, reached: Mapping[TopicPartition, Position]) -> None:
        """Advance locked rows."""
        if not reached:
            return
        records = [position.record for position in reached.values()]
        await conn.execute(
            """
            UPDATE source_offset AS stored
            SET next_offset = applied.next_offset,
                last_timestamp = coalesce(applied.last_timestamp, stored.last_timestamp),
                last_sha256 = coalesce(applied.last_sha256, stored.last_sha256)
            FROM unnest($2::text[], $3::integer[], $4::bigint[], $5::bigint[], $6::bytea[])
                AS applied (topic, partition, next_offset, last_timestamp, last_sha256)
            WHERE stored.consumer_group = $1 AND stored.topic = applied.topic
              AND stored.partition = applied.partition
            """,
            self._group,
            [tp.topic for tp in reached],
            [tp.partition for tp in reached],
            [position.next_offset for position in reached.values()],
            [None if record is None else record.timestamp for record in records],
            [None if record is None else record_digest(record) for record in records],
        )

    async def refuse(
        self, pool: asyncpg.Pool[Any], tp: TopicPartition, reason: str, detail: str
    ) -> None:
        """Keep why a partition stopped, until an operator has looked."""
        async with pool.acquire() as conn:
            await conn.execute(
                """
                INSERT INTO refused_partition (consumer_group, topic, partition, reason, detail)
                VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
                """,
                self._group,
                tp.topic,
                tp.partition,
                reason,
                # Text cannot hold NUL, and an error may quote what a record said.
                detail.replace("\x00", ""),
            )

    async def refusals(self, conn: Connection) -> list[Any]:
        """Refused partitions with reason, detail and since when."""
        rows: list[Any] = await conn.fetch(
            "SELECT topic, partition, reason, detail, refused_at FROM refused_partition"
            " WHERE consumer_group = $1 ORDER BY topic, partition",
            self._group,
        )
        return rows

    async def accept_gap(
        self, conn: Connection, tp: TopicPartition, log_start: int, log_end: int
    ) -> tuple[Gap, str]:
        """Let a refused partition go on: the gap, empty where another log begins, and the reason.

        Raises:
            LookupError: the partition is not refused.
        """
        row = (await self.lock(conn, [tp])).get(tp)
        reason = await conn.fetchval(
            "DELETE FROM refused_partition"
            " WHERE consumer_group = $1 AND topic = $2 AND partition = $3 RETURNING reason",
            self._group,
            tp.topic,
            tp.partition,
        )
        if row is None or reason is None:
            raise LookupError(f"{tp.topic}/{tp.partition} is not refused")
        stored = row["next_offset"]
        another_log = reason in ("offset_beyond_end", "another_log") or stored > log_end
        if another_log:
            stored = log_start
        await conn.execute(
            """
            UPDATE source_offset
            SET next_offset = $4, accepted_until = $5,
                last_timestamp = CASE WHEN $6 THEN NULL ELSE last_timestamp END,
                last_sha256 = CASE WHEN $6 THEN NULL ELSE last_sha256 END
            WHERE consumer_group = $1 AND topic = $2 AND partition = $3
            """,
            self._group,
            tp.topic,
            tp.partition,
            stored,
            log_start,
            another_log,
        )
        return Gap(tp.topic, tp.partition, stored, max(stored, log_start) - 1), reason
