"""The organization's own enrolment on a portal under a TIN: four phases, one after the other.

No account is requested before registration has cleared; whoever is registered already when the
directory first says so has an established enrolment, whose phases are taken as cleared.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from shared.contracts.directory import Directory, Enrolment, EnrolmentDocument, PhaseDays
from shared.values import value_class


class Phase(StrEnum):
    """The four phases, in their order."""

    REGISTRATION = "registration"
    CARRIER_MAPPING = "carrier_mapping"
    USER_PROVISIONING = "user_provisioning"
    TRAINING = "training"


PHASES = tuple(Phase)


class PhaseStatus(StrEnum):
    """Where a phase stands. `submitted`: with the portal; `returned`: the portal wants more."""

    WAITING = "waiting"
    WORKING = "working"
    SUBMITTED = "submitted"
    RETURNED = "returned"
    CLEARED = "cleared"


class PhaseMove(StrEnum):
    """What can happen to a phase."""

    BEGIN = "begin"
    SUBMIT = "submit"
    RETURN = "return"
    CLEAR = "clear"
    REOPEN = "reopen"


_S, _M = PhaseStatus, PhaseMove

PHASE_LIFE: Mapping[tuple[PhaseStatus, PhaseMove], PhaseStatus] = MappingProxyType(
    {
        (_S.WAITING, _M.BEGIN): _S.WORKING,
        (_S.WORKING, _M.SUBMIT): _S.SUBMITTED,
        (_S.WORKING, _M.CLEAR): _S.CLEARED,
        (_S.SUBMITTED, _M.RETURN): _S.RETURNED,
        (_S.SUBMITTED, _M.CLEAR): _S.CLEARED,
        (_S.RETURNED, _M.SUBMIT): _S.SUBMITTED,
        (_S.CLEARED, _M.REOPEN): _S.WORKING,
    }
)
"""The life of a phase; a pair that is absent is refused."""


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a phase's checklist."""

    id: str
    text: str


CHECKLISTS: Mapping[Phase, tuple[Item, ...]] = MappingProxyType(
    {
        Phase.REGISTRATION: (
            Item("tax-ids", "Tax id and legal name as the IRS has them, with the W-9."),
            Item("npis", "Group NPIs, and PTANs where the portal asks for them."),
            Item("business", "Business registrations and licences, none expired."),
            Item("signature", "Signed by somebody who may sign for the organization."),
            Item("administrators", "A first administrator is named, and a second."),
        ),
        Phase.CARRIER_MAPPING: (
            Item("carriers", "Every carrier under contract that this portal reaches is attached."),
            Item("transactions", "Remittance and payment enrolment where the carrier asks for it."),
            Item("tried", "For each carrier something was looked up and found."),
        ),
        Phase.USER_PROVISIONING: (
            Item("duties", "Job duties say who needs which function here."),
            Item("own-logins", "Everybody who works here has a login of their own."),
            Item("second", "The second administrator can sign in and manage users."),
            Item("roster", "The portal's first list of users was fetched and compared."),
        ),
        Phase.TRAINING: (
            Item("procedures", "A written procedure for each job duty."),
            Item("sign-offs", "Everybody who works here has signed off on it."),
            Item("downtime", "A backup for login loops, expired credentials and system drops."),
            Item("questions", "Everybody knows whom to ask first."),
        ),
    }
)


@value_class(frozen=True, slots=True)
class PhaseState:
    """One phase of one enrolment. Instants are UTC; `ticked` has who did an item, and when."""

    enrolment: str
    phase: Phase
    status: PhaseStatus
    owner: str | None
    ticked: Mapping[str, Mapping[str, str]]
    since: datetime
    due_at: datetime | None
    note: str | None = None

    def stalled(self, now: datetime) -> bool:
        """Whether it should have cleared by now."""
        return (
            self.status is not PhaseStatus.CLEARED
            and self.due_at is not None
            and self.due_at <= now
        )


def phase_days(days: PhaseDays, phase: Phase) -> int:
    """How many days a phase may take."""
    allowed: int = getattr(days, phase.value)
    return allowed


def begin_enrolment(enrolment: Enrolment, days: PhaseDays, now: datetime) -> list[PhaseState]:
    """The phases of an enrolment that the directory has just come to know.

    What was registered before is established: nobody asks for its checklists afterwards. Until
    somebody is assigned to a phase, it is the enrolment's owner who sees it through.
    """
    if enrolment.registered_on is not None:
        cleared = PhaseStatus.CLEARED
        return [PhaseState(enrolment.id, phase, cleared, None, {}, now, None) for phase in PHASES]
    first, *later = PHASES
    due = now + timedelta(days=phase_days(days, first))
    waiting = PhaseStatus.WAITING
    return [
        PhaseState(enrolment.id, first, waiting, None, {}, now, due),
        *(PhaseState(enrolment.id, phase, waiting, None, {}, now, None) for phase in later),
    ]


def why_not(
    state: PhaseState,
    move: PhaseMove,
    phases: Sequence[PhaseState],
    documents: Iterable[EnrolmentDocument],
    today: date,
) -> tuple[str, str] | None:
    """The rule that refuses a move and what to do about it, or None."""
    if (state.status, move) not in PHASE_LIFE:
        return "not_possible_now", f"The phase is {state.status}; {move} does not follow from that."
    before = [other for other in phases if PHASES.index(other.phase) < PHASES.index(state.phase)]
    unfinished = [other.phase for other in before if other.status is not PhaseStatus.CLEARED]
    if unfinished:
        return "earlier_phase_open", f"{_spoken(unfinished[0])} has to clear first."
    if state.phase is Phase.REGISTRATION and move is PhaseMove.REOPEN:
        return (
            "registration_is_data",
            "Access rests on it: take registered_on out of the directory with a plan, which shows"
            " whose access ends.",
        )
    if move in (PhaseMove.SUBMIT, PhaseMove.CLEAR):
        left = [item.text for item in CHECKLISTS[state.phase] if item.id not in state.ticked]
        if left:
            return "checklist_open", f"Not ticked yet: {left[0]}" + (
                f" (and {len(left) - 1} more)" if len(left) > 1 else ""
            )
    if move is PhaseMove.SUBMIT and state.phase is Phase.REGISTRATION:
        expired = [each for each in documents if each.expires_on and each.expires_on < today]
        if expired:
            return (
                "document_expired",
                f"{expired[0].name} expired on {expired[0].expires_on}: renew it and change its"
                " date in the directory.",
            )
    return None


def moved(
    state: PhaseState,
    move: PhaseMove,
    days: PhaseDays,
    now: datetime,
    note: str | None = None,
) -> PhaseState:
    """The phase after a move that nothing refuses."""
    status = PHASE_LIFE[state.status, move]
    due = state.due_at
    if move in (PhaseMove.BEGIN, PhaseMove.REOPEN) and state.phase is not Phase.REGISTRATION:
        due = now + timedelta(days=phase_days(days, state.phase))
    ticked = {} if move is PhaseMove.REOPEN else state.ticked
    return PhaseState(
        state.enrolment, state.phase, status, state.owner, ticked, now, due, note or state.note
    )


def documents_of(directory: Directory, enrolment: Enrolment) -> list[EnrolmentDocument]:
    """The document pack of an enrolment: what it names, or everything for its TIN."""
    return [
        document
        for document in directory.documents
        if (document.id in enrolment.documents)
        or (not enrolment.documents and enrolment.tin in document.tins)
    ]


def particulars(directory: Directory, enrolment: Enrolment) -> dict[str, object]:
    """What a registration form asks for, from the directory: numbers of the organization under the
    enrolment's TIN, PTANs only of carriers that the portal reaches, and who signs.
    """
    portal = next(each for each in directory.portals if each.id == enrolment.portal)
    reached = {reach.carrier for reach in portal.reaches}
    holders = [
        *((site.name, site.ptans) for site in directory.sites),
        *((clinician.name, clinician.ptans) for clinician in directory.clinicians),
    ]
    return {
        "tin": enrolment.tin,
        "npis": directory.organization.npis,
        "sites": [site.name for site in directory.sites if enrolment.tin in site.tins],
        "ptans": [
            {"holder": name, "ptan": each.ptan, "carrier": each.carrier}
            for name, ptans in holders
            for each in ptans
            if each.tin == enrolment.tin and each.carrier in reached
        ],
        "signatories": [
            document.signatory
            for document in directory.documents
            if document.signatory and enrolment.tin in document.tins
        ],
    }


def expiring(directory: Directory, today: date) -> list[EnrolmentDocument]:
    """Documents that have expired or will within the organization's warning time."""
    last = today + timedelta(days=directory.organization.document_warning_days)
    return sorted(
        (each for each in directory.documents if each.expires_on and each.expires_on <= last),
        key=lambda each: (each.expires_on or today, each.id),
    )


def _spoken(phase: Phase) -> str:
    return phase.value.replace("_", " ").capitalize()
