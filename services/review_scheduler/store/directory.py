"""What reviews need of the directory, and the timers of each organization's campaigns."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from services.review_scheduler.rules.calendar import BusinessCalendar, calendar_of
from services.review_scheduler.rules.scope import Reached
from shared.contracts.directory import (
    Administrator,
    Function,
    JobDuty,
    Organization,
    Policy,
)
from shared.contracts.review_policy import ReviewPolicy
from shared.kafka.compacted import DirectoryChange
from shared.postgres import Connection

CALENDAR_TIMER = "calendar"
"""The kind of the timers that open campaigns, keyed organization/calendar, or with the portal."""

DEFAULT = ReviewPolicy()


@dataclass(frozen=True, slots=True)
class DirectoryView:
    """What reviews need of a directory; `organization` is None until it is known."""

    organization: Organization | None
    policy: Policy | None
    administrators: tuple[Administrator, ...]
    job_duties: tuple[JobDuty, ...]
    reviews: ReviewPolicy
    portals: Mapping[str, Reached]
    recertify_by: Mapping[str, date]
    """By when portals want their users confirmed, where that is known."""

    @property
    def calendar(self) -> BusinessCalendar:
        """The organization's business days."""
        return calendar_of(self.organization)


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
        next(
            (ReviewPolicy.model_validate(each) for each in found.get("review_policy", ())), DEFAULT
        ),
        {each["id"]: _reached(each) for each in found.get("portal", ())},
        {
            each["portal"]: date.fromisoformat(each["recertify_by"])
            for each in found.get("portal_clock", ())
        },
    )


def _reached(portal: Mapping[str, Any]) -> Reached:
    """Read without validating: a portal is large, and this is a small part of it."""
    carriers: dict[Function, set[str]] = {}
    for reach in portal["reaches"]:
        for function in reach["functions"]:
            carriers.setdefault(Function(function), set()).add(reach["carrier"])
    return Reached(portal["name"], {each: frozenset(own) for each, own in carriers.items()})


async def calendar_timers(conn: Connection, organization: str) -> dict[str, datetime]:
    """When the organization's campaigns are due, by the key of their timer."""
    rows = await conn.fetch(
        "SELECT key, due_at FROM timer WHERE kind = $1 AND starts_with(key, $2)",
        CALENDAR_TIMER,
        f"{organization}/",
    )
    return {row["key"]: row["due_at"] for row in rows}


async def organizations(conn: Connection) -> list[str]:
    """The organizations whose directory is known."""
    rows = await conn.fetch(
        "SELECT organization FROM directory_object"
        " WHERE kind = 'organization' AND data IS NOT NULL ORDER BY organization"
    )
    return [row["organization"] for row in rows]
