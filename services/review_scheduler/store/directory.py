"""What reviews need of the directory, and the timer of each organization's quarters."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.contracts.directory import (
    Administrator,
    JobDuty,
    Organization,
    Policy,
)
from shared.contracts.review_policy import ReviewPolicy
from shared.kafka.compacted import DirectoryChange
from shared.postgres import Connection

CALENDAR_TIMER = "quarter"
"""The kind of the timer, keyed by organization, that opens each quarter's campaign."""


@dataclass(frozen=True, slots=True)
class DirectoryView:
    """What reviews need of a directory; `organization` is None until it is known."""

    organization: Organization | None
    policy: Policy | None
    administrators: tuple[Administrator, ...]
    job_duties: tuple[JobDuty, ...]
    reviews: ReviewPolicy


async def store_directory(
    conn: Connection, changes: Collection[DirectoryChange]
) -> list[tuple[str, str, str]]:
    """Store object states that are newer than ours; (organization, kind, id) of those stored."""
    ordered = sorted(changes, key=lambda each: (each.organization, each.kind, each.id))
    rows = await conn.fetch(
        """
        INSERT INTO directory_object AS known (organization, kind, id, epoch, version, data)
        SELECT * FROM unnest(
            $1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::jsonb[])
        ON CONFLICT (organization, kind, id) DO UPDATE
            SET epoch = excluded.epoch, version = excluded.version, data = excluded.data
            WHERE (known.epoch, known.version) < (excluded.epoch, excluded.version)
        RETURNING organization, kind, id
        """,
        [each.organization for each in ordered],
        [each.kind for each in ordered],
        [each.id for each in ordered],
        [each.epoch for each in ordered],
        [each.version for each in ordered],
        [each.value.model_dump(mode="json") if each.value else None for each in ordered],
    )
    return [(row["organization"], row["kind"], row["id"]) for row in rows]


async def lock_organization(conn: Connection, organization: str) -> bool:
    """Hold an organization's directory object until the transaction ends; whether it is known."""
    return (
        await conn.fetchval(
            "SELECT true FROM directory_object"
            " WHERE organization = $1 AND kind = 'organization' AND data IS NOT NULL FOR UPDATE",
            organization,
        )
        is True
    )


async def load_directory(conn: Connection, organization: str) -> DirectoryView:
    """The organization's directory as far as reviews need it."""
    rows = await conn.fetch(
        "SELECT kind, data FROM directory_object WHERE organization = $1 AND data IS NOT NULL"
        " ORDER BY kind, id",
        organization,
    )
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row["kind"], []).append(row["data"])
    organizations = [Organization.model_validate(each) for each in found.get("organization", ())]
    policies = [Policy.model_validate(each) for each in found.get("policy", ())]
    return DirectoryView(
        organizations[0] if organizations else None,
        policies[0] if policies else None,
        tuple(Administrator.model_validate(each) for each in found.get("administrator", ())),
        tuple(JobDuty.model_validate(each) for each in found.get("job_duty", ())),
        ReviewPolicy.model_validate(found["review_policy"][0])
        if "review_policy" in found
        else ReviewPolicy(),
    )


async def calendar_due_at(conn: Connection, organization: str) -> datetime | None:
    """When the organization's next quarterly campaign is due, if that is set."""
    due_at: datetime | None = await conn.fetchval(
        "SELECT due_at FROM timer WHERE kind = $1 AND key = $2", CALENDAR_TIMER, organization
    )
    return due_at
