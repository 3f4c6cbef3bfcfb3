"""Who answers for somebody who is not staff: the supervisor whom HR names is their sponsor."""

from collections.abc import Collection, Iterable

from services.provisioning.rules.desired.withheld import STAFF
from services.provisioning.rules.timeline import Folded, Person
from shared.contracts.state import Finding

SPONSOR_MISSING = "sponsor_missing"
SPONSOR_LEFT = "sponsor_left"


def sponsors_named(person: Person) -> list[str]:
    """Everybody who ever was to answer for a person who ever was not staff, sorted."""
    if not any(event.data.get("kind") not in (None, *STAFF) for event in person.events):
        return []
    return sorted(
        {str(event.data["supervisor"]) for event in person.events if event.data.get("supervisor")}
    )


def sponsor_findings(folded: Folded, gone: Collection[str]) -> Iterable[Finding]:
    """What to ask HR about a person's sponsors.

    Their access stays meanwhile: the next who can is asked to review it, and what nobody confirms
    in time ends by the policy of reviews.

    Args:
        gone: sponsors who do not work here any more.
    """
    for employment in folded.open_employments:
        if employment.kind in STAFF:
            continue
        kind = employment.kind.replace("_", " ")
        if employment.supervisor is None:
            yield Finding(SPONSOR_MISSING, f"{kind} for whom nobody answers: HR names a supervisor")
        elif employment.supervisor in gone:
            yield Finding(
                SPONSOR_LEFT,
                f"{employment.supervisor}, who answers for this {kind}, has left: HR names"
                " somebody else. The access is up for review meanwhile",
            )
