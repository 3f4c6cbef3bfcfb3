"""Portals' own dates as they were published."""

from collections.abc import Mapping
from datetime import date

from shared.postgres import Connection


async def save_recertifications(
    conn: Connection, organization: str, dues: Mapping[str, date]
) -> list[tuple[str, int]]:
    """Keep by when portals want their users confirmed; those that changed, with their version."""
    rows = await conn.fetch(
        """
        INSERT INTO portal_clock AS known (organization, portal, recertify_by)
        SELECT $1, portal, due FROM unnest($2::text[], $3::date[]) AS new (portal, due)
        ORDER BY portal
        ON CONFLICT (organization, portal) DO UPDATE
            SET recertify_by = excluded.recertify_by, version = known.version + 1
            WHERE known.recertify_by <> excluded.recertify_by
        RETURNING portal, version
        """,
        organization,
        list(dues),
        list(dues.values()),
    )
    return [(row["portal"], row["version"]) for row in rows]
