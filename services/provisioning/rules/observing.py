"""Observe-only: a portal that had users before is looked at before anything is ordered there.

What merely was not known is no reason for work: a right that policy gives may exist already, and a
login that was adopted may be needed for reasons nobody wrote down. The portal's first reconciled
roster ends this. Departures, and rights that policy began to give later, are ordered as ever.
"""

from collections.abc import Collection, Mapping

from services.provisioning.rules.operations import Account, Held
from shared.contracts.state import AuthorizedBy, Grade
from shared.contracts.state import Held as HeldBack
from shared.values import value_class

OBSERVE_ONLY = "observe_only"
ADOPTION = "adoption"
"""The kind of `authorized_by` of what was taken over; nobody here has approved it."""


@value_class(frozen=True, slots=True)
class Observed:
    """One account on an observe-only portal.

    `wanted` may be worked towards, `held` may exist already, `spared` is effective beyond policy
    and stays until a roster shows what there really is.
    """

    wanted: Mapping[Held, AuthorizedBy]
    held: tuple[HeldBack, ...]
    spared: Mapping[Held, AuthorizedBy]


def observe(
    account: Account,
    desired: Mapping[Held, AuthorizedBy],
    before: Collection[Held],
    removed: Collection[Held],
) -> Observed:
    """What may be worked towards on an observe-only portal.

    Args:
        before: what policy gave this person when the portal's users were first looked at.
        removed: what a named rule or a decision takes away, which is no lack of knowledge.
    """
    wanted, held = dict(desired), []
    if account.grade in (None, Grade.ASSUMED):
        for tin, function in sorted(desired):
            if (tin, function) in account.effective or (tin, function) not in before:
                continue
            del wanted[tin, function]
            detail = "may exist already; ordered once the portal's first roster is reconciled"
            held.append(HeldBack(tin, function, OBSERVE_ONLY, detail))
    spared = {
        right: own.authorized_by
        for right, own in account.effective.items()
        if right not in desired
        and right not in removed
        and own.authorized_by is not None
        and own.authorized_by.kind == ADOPTION
    }
    return Observed(wanted, tuple(held), spared)
