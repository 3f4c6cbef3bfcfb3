"""Clocks of portals: when a login dies because nobody uses it, and the work that keeps it alive.

Only the holder may sign in, so keep-alive is work of the holder. Where nobody knows when a login
was last used, its clock is not known either, and a guess would be worse.
"""

from datetime import datetime, timedelta

from services.provisioning.rules.operations import Account
from shared.contracts.directory import OperationKind, Portal, Step
from shared.contracts.state import Grade

KEEP_ALIVE_AHEAD_DAYS = 7
"""A week: long enough for somebody who works part-time to sign in on a day they work."""


def last_used(account: Account) -> datetime | None:
    """The latest instant at which the login is known to have been used or newly opened (UTC).

    None where nothing is left that could be used: such a login may well lapse.
    """
    if not account.effective:
        return None
    begun = [
        own.since
        for own in account.rights.values()
        if own.since is not None and own.grade is not Grade.ASSUMED
    ]
    known = [at for at in (account.last_login_at, min(begun, default=None)) if at is not None]
    return max(known, default=None)


def lapse(account: Account, idle_days: int | None) -> datetime | None:
    """When the portal disables the login unless it is used before; None where not known.

    Args:
        idle_days: after how many days without use the portal does so, where that is known.
    """
    used = last_used(account)
    return None if idle_days is None or used is None else used + timedelta(days=idle_days)


def keep_alive_steps(portal: Portal, lapses: datetime, as_of: datetime) -> tuple[Step, ...]:
    """What the holder does; the day is the portal's last, in words a person can act on."""
    if lapses <= as_of:
        return (
            Step(
                actor="administrator",
                text=(
                    f"{portal.name} has probably disabled this login, idle since too long."
                    " Reactivate it there, or say that it is not needed."
                ),
            ),
            Step(actor="worker", text=f"Sign in to {portal.name} with your own login."),
        )
    own = portal.steps.get(OperationKind.KEEP_ALIVE)
    return own or (
        Step(
            actor="worker",
            text=(
                f"Sign in to {portal.name} with your own login; it is disabled when nobody does."
                " Nobody may do it for you."
            ),
            link=portal.url,
        ),
    )
