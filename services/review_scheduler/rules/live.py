"""What a line looks like now: what changed since it was opened, what is risky, what we would do.

A recommendation never decides; it is shown with its reason and kept with the decision, so that
whoever looks later sees what the reviewer saw.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from services.review_scheduler.rules.roles import Holding
from shared.contracts.directory import FINANCIAL, Function, OperationKind
from shared.contracts.review import Advice, Risk
from shared.contracts.state import (
    AccountStatus,
    AuthorizedBy,
    Finding,
    Grade,
    OpenOperation,
    PortalAccess,
    WorkerState,
    WorkerStatus,
)

OBSERVE_ONLY = "observe_only"
"""The rule by which provisioning holds back orders on a portal whose first roster is to come."""

TAKES_AWAY = frozenset(
    {OperationKind.REVOKE, OperationKind.SUSPEND, OperationKind.ROTATE, OperationKind.CLOSE}
)


@dataclass(frozen=True, slots=True)
class Login:
    """What is known of one of a worker's logins on a portal, reduced to what deciding needs.

    `desired` is what policy and exceptions give by it and `effective` what it gives now, each as
    (TIN, function); `removals` are orders under way that take something away.
    """

    portal: str
    status: AccountStatus
    grade: Grade | None
    last_login_at: datetime | None
    last_login_grade: Grade | None
    last_login_source: str | None
    lapses_at: datetime | None
    desired: tuple[tuple[str, Function], ...]
    findings: tuple[Finding, ...]
    removals: tuple[OpenOperation, ...]
    effective: tuple[tuple[str, Function], ...] = ()

    def removal_of(self, tin: str, function: Function) -> OpenOperation | None:
        """The order under way that takes this function away, if there is one."""
        for order in self.removals:
            if (order.tin, order.function) in ((tin, function), (None, None)):
                return order
        return None


def logins_in(state: WorkerState) -> tuple[Login, ...]:
    """The logins that a state tells, by portal."""
    return tuple(_login(access) for access in state.portals)


def _login(access: PortalAccess) -> Login:
    observed = [(own.tin, own.function) for own in access.held if own.rule == OBSERVE_ONLY]
    return Login(
        access.portal,
        access.status,
        access.grade,
        access.last_login_at,
        access.last_login_grade,
        access.last_login_source,
        access.lapses_at,
        (*((own.tin, own.function) for own in access.desired), *observed),
        access.findings,
        tuple(order for order in access.operations if order.kind in TAKES_AWAY),
        tuple((own.tin, own.function) for own in access.effective),
    )


def login_for(logins: Collection[Login], portal: str, tin: str, function: Function) -> Login | None:
    """The login by which its holder has a function on a portal.

    Whoever has two there, as after a merge, is judged by the one that gives the function; of
    several, or if none does, by the one that policy wants, or that is in use.
    """
    right = (tin, function)
    there = (login for login in logins if login.portal == portal)
    return max(
        there,
        key=lambda login: (
            right in login.effective,
            right in login.desired,
            login.status is AccountStatus.ACTIVE,
        ),
        default=None,
    )


@dataclass(frozen=True, slots=True)
class Opened:
    """What a line said when it was opened."""

    portal: str
    tin: str
    function: Function
    opened_at: datetime
    grade: Grade | None
    since: datetime | None
    authorized_by: AuthorizedBy | None
    duties: tuple[str, ...]

    @property
    def target(self) -> tuple[str, str, Function]:
        """What the line asks about."""
        return (self.portal, self.tin, self.function)


@dataclass(frozen=True, slots=True)
class Now:
    """The same access and its holder at `at` (UTC). `held` is None once the access is gone.

    `duty_names` are what the directory calls `duties`; `inactive_days` is from when on an idle
    login counts as dormant, by policy.
    """

    at: datetime
    holder: WorkerStatus
    held: Holding | None
    login: Login | None
    duties: tuple[str, ...]
    duty_names: tuple[str, ...]
    administers: bool
    inactive_days: int


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What we would do, by which rule, and why in words."""

    advice: Advice
    rule: str
    reason: str


def idle_days(login: Login | None, at: datetime) -> int | None:
    """Whole days since the last known login; None where none is known."""
    if login is None or login.last_login_at is None:
        return None
    return (at - login.last_login_at).days


def risks_of(line: Opened, now: Now) -> tuple[Risk, ...]:
    """What makes this access worth a second look, most harmful first."""
    rules = {finding.rule for finding in now.login.findings} if now.login else set()
    idle = idle_days(now.login, now.at)
    found: dict[Risk, bool] = {
        "administrator": now.administers or line.function is Function.USER_ADMINISTRATION,
        "financial": line.function in FINANCIAL,
        "beyond_policy": _is_beyond_policy(line, now),
        "dormant": "dormant" in rules or (idle is not None and idle >= now.inactive_days),
        "shared": bool(rules & {"shared", "generic"}),
    }
    return tuple(risk for risk, holds in found.items() if holds)


def _is_beyond_policy(line: Opened, now: Now) -> bool:
    """Whether neither policy nor an exception gives it; while its holder is away, nobody knows."""
    if now.held is None or now.login is None or now.holder is WorkerStatus.ON_LEAVE:
        return False
    return (line.tin, line.function) not in now.login.desired


def recommend(line: Opened, now: Now, risks: Collection[Risk]) -> Recommendation:
    """What we would do about a line; the first of these that holds."""
    authorized = now.held.entitlement.authorized_by if now.held else line.authorized_by
    kind = authorized.kind if authorized else None
    idle = idle_days(now.login, now.at)
    if now.held is None:
        return Recommendation("remove", "gone", "The portal no longer has it, as far as we know.")
    if now.login and now.login.removal_of(line.tin, line.function):
        return Recommendation("remove", "removal_ordered", "Its removal is ordered already.")
    if "beyond_policy" in risks:
        return Recommendation("remove", "beyond_policy", "No duty or exception gives it.")
    if "shared" in risks:
        return Recommendation("ask", "shared", "The login is not one person's: ask who uses it.")
    if "dormant" in risks:
        used = _last_used(idle) if idle is not None else "the login was never used"
        return Recommendation("remove", "dormant", f"{used[0].upper()}{used[1:]}.")
    if kind in ("exception", "break_glass") and authorized:
        return Recommendation(
            "keep", "exception", f"{authorized.by} approved it for a time; it ends by itself."
        )
    if kind == "mover_grace":
        return Recommendation(
            "ask",
            "mover_grace",
            "It belongs to the former job: ask whether the handing over is done.",
        )
    if now.duties:
        calls = "calls" if len(now.duties) == 1 else "call"
        used = _last_used(idle) if idle is not None else "when it was used is not known"
        return Recommendation("keep", "duty", f"{_named(now)} {calls} for it; {used}.")
    return Recommendation("keep", "policy", "Policy gives it.")


def _named(now: Now) -> str:
    return " and ".join(now.duty_names)


def _last_used(idle: int) -> str:
    """When a login was last used, so many whole days ago."""
    return f"last used {idle} {'day' if idle == 1 else 'days'} ago" if idle else "used within a day"


def changes_since(line: Opened, now: Now) -> tuple[str, ...]:
    """What is otherwise than when the line was opened, in words, most important first."""
    said = []
    if now.holder in (WorkerStatus.TERMINATED, WorkerStatus.ERASED):
        said.append("the holder has left")
    elif now.holder is WorkerStatus.ON_LEAVE:
        said.append("the holder is on leave")
    if now.held is None:
        return (*said, "the access is gone")
    order = now.login.removal_of(line.tin, line.function) if now.login else None
    if order is not None and order.requested_at > line.opened_at:
        said.append("its removal was ordered")
    if now.duties != line.duties:
        named = _named(now)
        said.append(f"now called for by {named}" if named else "no duty calls for it any more")
    held = now.held.entitlement
    if held.authorized_by != line.authorized_by and held.authorized_by is not None:
        said.append(f"authorized anew by {held.authorized_by.by}")
    if now.login and now.login.last_login_at and now.login.last_login_at > line.opened_at:
        said.append("used since")
    if held.grade != line.grade and held.grade is not None:
        said.append(_SEEN[held.grade])
    return tuple(said)


_SEEN = {
    Grade.ROSTER: "seen on the portal's list",
    Grade.API: "confirmed by the portal's API",
    Grade.PERSON: "confirmed by a person",
    Grade.ASSUMED: "now only assumed",
}
