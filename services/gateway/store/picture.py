"""What provisioning published of workers and directory, kept for comparing HR's lists with it."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter

from services.gateway.rules.intake import InForce
from services.gateway.rules.roster_changes import Known
from shared.contracts.state import WorkerStatus
from shared.kafka.compacted import DirectoryChange
from shared.postgres import Connection

KNOWN = TypeAdapter(Known)

NAMED = ("portal", "site", "job_duty", "training_module", "source")
"""The kinds of directory objects that pages name."""


@dataclass(frozen=True, slots=True)
class WorkerPicture:
    """A worker's newest state, reduced to what lists tell; `known` is None after erasure."""

    organization: str
    worker: str
    epoch: int
    version: int
    merged_into: str | None
    known: Known | None

    @property
    def has_left(self) -> bool:
        """Whether nobody works here any more under this id or one merged with it."""
        if self.merged_into is not None:
            return False
        return self.known is None or self.known.status is WorkerStatus.TERMINATED


@dataclass(frozen=True, slots=True)
class Places:
    """Of the directory: the zone, what sites are called and their ids, and the mapped titles.

    `titles` is None while no directory has arrived.
    """

    zone: ZoneInfo
    sites: Mapping[str, str]
    titles: frozenset[str] | None


async def store_workers(conn: Connection, pictures: Sequence[WorkerPicture]) -> list[WorkerPicture]:
    """Store those that are newer than ours, which are returned.

    Of who was erased nothing is kept anywhere.
    """
    ordered = sorted(pictures, key=lambda each: (each.organization, each.worker))
    rows = await conn.fetch(
        """
        INSERT INTO known_worker AS known (organization, worker, epoch, version, merged_into, state)
        SELECT * FROM unnest(
            $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::jsonb[])
        ON CONFLICT (organization, worker) DO UPDATE SET epoch = excluded.epoch,
            version = excluded.version, merged_into = excluded.merged_into, state = excluded.state
            WHERE (known.epoch, known.version) < (excluded.epoch, excluded.version)
        RETURNING organization, worker
        """,
        [each.organization for each in ordered],
        [each.worker for each in ordered],
        [each.epoch for each in ordered],
        [each.version for each in ordered],
        [each.merged_into for each in ordered],
        [KNOWN.dump_python(each.known, mode="json") if each.known else None for each in ordered],
    )
    erased = [each for each in ordered if each.known is None]
    if erased:
        keys = [each.organization for each in erased], [each.worker for each in erased]
        for table, column in (
            ("source_worker", "worker"),
            ("hr_question", "worker"),
            ("contact", "worker"),
            ("notice", "about"),
            ("notice_to", "recipient"),
        ):
            await conn.execute(
                f"DELETE FROM {table} WHERE (organization, {column}) IN"
                " (SELECT * FROM unnest($1::text[], $2::text[]))",
                *keys,
            )

    stored = {(row["organization"], row["worker"]) for row in rows}
    return [each for each in ordered if (each.organization, each.worker) in stored]


async def ids_of(conn: Connection, organization: str, workers: Collection[str]) -> list[str]:
    """These workers' ids, and those that were merged into them."""
    rows = await conn.fetch(
        "SELECT worker FROM known_worker WHERE organization = $1 AND merged_into = ANY($2::text[])",
        organization,
        list(workers),
    )
    return sorted({*workers, *(row["worker"] for row in rows)})


async def find_person(
    conn: Connection, organization: str, worker: str | None, email: str | None
) -> tuple[str | None, bool]:
    """The worker whom an id, or without one an address, stands for; and whether they have left.

    Of several with one address who still works here comes first. A departure that arrives at the
    same moment is waited for.
    """
    row = await conn.fetchrow(
        """
        SELECT known.worker,
            coalesce(known.state ->> 'status', 'erased') IN ('terminated', 'erased') AS has_left
        FROM known_worker AS said
        JOIN known_worker AS known ON known.organization = said.organization
            AND known.worker = coalesce(said.merged_into, said.worker)
        WHERE said.organization = $1
          AND CASE WHEN $2::text IS NULL
              THEN lower(said.state ->> 'email') = lower($3) ELSE said.worker = $2 END
        ORDER BY has_left, known.worker LIMIT 1 FOR SHARE OF known
        """,
        organization,
        worker,
        email,
    )
    return (row["worker"], row["has_left"]) if row else (worker, False)


async def store_directory(conn: Connection, changes: Collection[DirectoryChange]) -> None:
    """Store object states that are newer than ours."""
    ordered = sorted(changes, key=lambda each: (each.organization, each.kind, each.id))
    await conn.execute(
        """
        INSERT INTO directory_object AS known (organization, kind, id, epoch, version, data)
        SELECT * FROM unnest(
            $1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::jsonb[])
        ON CONFLICT (organization, kind, id) DO UPDATE
            SET epoch = excluded.epoch, version = excluded.version, data = excluded.data
            WHERE (known.epoch, known.version) < (excluded.epoch, excluded.version)
        """,
        [each.organization for each in ordered],
        [each.kind for each in ordered],
        [each.id for each in ordered],
        [each.epoch for each in ordered],
        [each.version for each in ordered],
        [each.value.model_dump(mode="json") if each.value else None for each in ordered],
    )


async def in_force(conn: Connection, organizations: Collection[str]) -> InForce:
    """Which of these organizations have a directory, and the sources that it names."""
    rows = await conn.fetch(
        "SELECT organization, kind, id FROM directory_object WHERE organization = ANY($1::text[])"
        " AND kind IN ('organization', 'source') AND data IS NOT NULL",
        list(organizations),
    )
    return InForce(
        frozenset(row["organization"] for row in rows if row["kind"] == "organization"),
        frozenset((row["organization"], row["id"]) for row in rows if row["kind"] == "source"),
    )


async def source_owners(conn: Connection, organization: str) -> dict[str, str]:
    """Who answers for each HR source that the directory names an owner of."""
    rows = await conn.fetch(
        "SELECT id, data ->> 'owner' AS owner FROM directory_object WHERE organization = $1"
        " AND kind = 'source' AND data ->> 'owner' IS NOT NULL",
        organization,
    )
    return {row["id"]: row["owner"] for row in rows}


async def known_workers(conn: Connection, organization: str) -> dict[str, Known]:
    """Everybody known, by every id that they have or had."""
    rows = await conn.fetch(
        "SELECT worker, merged_into, state FROM known_worker"
        " WHERE organization = $1 AND state IS NOT NULL",
        organization,
    )
    # Of a hundred thousand this takes a second, in which others are answered.
    return await asyncio.to_thread(_known, rows)


def _known(rows: Sequence[Any]) -> dict[str, Known]:
    found = {row["worker"]: KNOWN.validate_python(row["state"]) for row in rows}
    for row in rows:
        if row["merged_into"] in found:
            found[row["worker"]] = found[row["merged_into"]]
    return found


async def names(conn: Connection, organization: str, workers: Sequence[str]) -> dict[str, str]:
    """What these workers are called, as far as is known, by every id that they have or had."""
    rows = await conn.fetch(
        "SELECT said.worker, known.state ->> 'name' AS name FROM known_worker AS said"
        " JOIN known_worker AS known ON known.organization = said.organization"
        " AND known.worker = coalesce(said.merged_into, said.worker)"
        " WHERE said.organization = $1 AND said.worker = ANY($2::text[])"
        " AND known.state ->> 'name' IS NOT NULL",
        organization,
        workers,
    )
    return {row["worker"]: row["name"] for row in rows}


async def directory_names(conn: Connection, organization: str) -> dict[str, dict[str, str]]:
    """What the directory calls the objects of these kinds: by kind, then by id."""
    rows = await conn.fetch(
        "SELECT kind, id, data ->> 'name' AS name FROM directory_object"
        " WHERE organization = $1 AND kind = ANY($2::text[]) AND data IS NOT NULL",
        organization,
        NAMED,
    )
    found: dict[str, dict[str, str]] = {kind: {} for kind in NAMED}
    for row in rows:
        found[row["kind"]][row["id"]] = row["name"]
    return found


async def known_ids(conn: Connection, organization: str) -> list[str]:
    """Every id that somebody known has or had."""
    rows = await conn.fetch(
        "SELECT worker FROM known_worker WHERE organization = $1 AND state IS NOT NULL",
        organization,
    )
    return [row["worker"] for row in rows]


async def places(conn: Connection, organization: str) -> Places:
    """What the directory says of zone, sites and titles."""
    rows: list[Any] = await conn.fetch(
        "SELECT kind, id, data FROM directory_object WHERE organization = $1 AND data IS NOT NULL",
        organization,
    )
    zone = next((row["data"]["zone"] for row in rows if row["kind"] == "organization"), None)
    sites = {row["data"]["name"]: row["id"] for row in rows if row["kind"] == "site"}
    ids = {row["id"]: row["id"] for row in rows if row["kind"] == "site"}
    titles = frozenset(row["id"] for row in rows if row["kind"] == "title")
    return Places(ZoneInfo(zone or "UTC"), {**sites, **ids}, titles if zone else None)
