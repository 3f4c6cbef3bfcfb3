"""What the recorded events of a review campaign come to, purely: its population, line by line.

An evidence package about a campaign begins with this. Everything in it is read out of entries that
the package proves, so that whoever doubts a number can count again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

LINE_COLUMNS = (
    "worker", "portal", "tin", "function", "reviewer", "reviewer_rule", "opened_at",
    "opened_in_entry", "outcome", "decided_by", "decided_at", "decided_in_entry", "reason", "risks",
    "recommended", "corrected", "removed_at", "hours_to_removal", "known_by", "removed_in_entry",
)  # fmt: skip

HOLDS = "kept", "removed", "moot"


@dataclass(slots=True)
class _Line:
    worker: str
    portal: str
    tin: str | None
    function: str | None
    review_id: str
    reviewer: str | None
    reviewer_rule: str
    opened_at: str
    opened_in: int
    outcome: str = "undecided"
    decided_by: str | None = None
    decided_at: str | None = None
    decided_in: int | None = None
    reason: str | None = None
    risks: tuple[str, ...] = ()
    advice: str | None = None
    corrected: int = 0
    removed_at: str | None = None
    removed_in: int | None = None
    grade: str | None = None
    overdue: bool = False

    @property
    def hours(self) -> float | None:
        """From decision to the portal showing it gone."""
        if self.removed_at is None or self.decided_at is None:
            return None
        took = datetime.fromisoformat(self.removed_at) - datetime.fromisoformat(self.decided_at)
        return round(took.total_seconds() / 3600, 2)

    @property
    def exception(self) -> str | None:
        """Why an auditor looks at this line first."""
        if self.outcome == "undecided":
            return "never decided"
        if self.outcome == "removal_open":
            return "removal not confirmed"
        if self.outcome == "expired":
            return "nobody answered in time"
        if self.outcome == "kept" and self.advice == "remove":
            return "kept against the recommendation"
        if self.overdue:
            return "removed late"
        return None


@dataclass(slots=True)
class CampaignRecord:
    """A campaign as its entries tell it; entries come in the order of the log."""

    campaign_id: str
    _lines: dict[str, _Line] = field(default_factory=dict)
    _reviewer: dict[str, str | None] = field(default_factory=dict)
    _opened: dict[str, Any] | None = None
    _closed: dict[str, Any] | None = None
    _unreadable: int = 0

    def read(self, entry: Mapping[str, Any]) -> None:
        """Take one entry into account."""
        value = (entry.get("payload") or {}).get("value")
        if not isinstance(value, dict):
            self._unreadable += 1
            return
        if value.get("campaign_id") != self.campaign_id:
            return
        type_, index = entry["type"], entry["index"]
        if type_ == "campaign.opened":
            self._opened = {**value, "entry": index}
        elif type_ == "campaign.closed":
            self._closed = {**value, "entry": index}
        elif type_ == "review.opened":
            self._open(value, index)
        elif type_ == "review.reassigned":
            self._reviewer[value["review_id"]] = value["reviewer"]
        elif type_ == "review.expired":
            for line in value["lines"]:
                self._move(line["line_id"], outcome="expired", decided_in=index)
        elif (line_id := value.get("line_id")) in self._lines:
            self._follow(type_, line_id, value, index)

    def _open(self, value: Mapping[str, Any], index: int) -> None:
        self._reviewer[value["review_id"]] = value["reviewer"]
        for line in value["lines"]:
            self._lines[line["line_id"]] = _Line(
                value["worker"],
                line["portal"],
                line["tin"],
                line["function"],
                value["review_id"],
                value["reviewer"],
                value["reviewer_rule"],
                value["opened_at"],
                index,
            )

    def _follow(self, type_: str, line_id: str, value: Mapping[str, Any], index: int) -> None:
        if type_ in ("review.decided", "review.corrected"):
            self._move(
                line_id,
                outcome="kept" if value["decision"] == "keep" else "removal_open",
                decided_by=value["decided_by"],
                decided_at=value["decided_at"],
                decided_in=index,
                reason=value["reason"],
                risks=tuple(value.get("risks", ())),
                advice=value.get("advice"),
                corrected=self._lines[line_id].corrected + (type_ == "review.corrected"),
            )
        elif type_ == "review.moot":
            self._move(line_id, outcome="moot", decided_in=index, reason=value["detail"])
        elif type_ == "review.removal_overdue":
            self._move(line_id, overdue=True)
        elif type_ == "review.removed":
            self._move(
                line_id,
                outcome="removed",
                removed_at=value["removed_at"],
                removed_in=index,
                grade=value["grade"],
            )

    def _move(self, line_id: str, **changes: Any) -> None:
        line = self._lines.get(line_id)
        if line is not None:
            for name, value in changes.items():
                setattr(line, name, value)

    @property
    def found(self) -> bool:
        """Whether there is such a campaign."""
        return self._opened is not None or bool(self._lines)

    def rows(self) -> Iterator[Sequence[Any]]:
        """A row per line, by worker and access."""
        ordered = sorted(
            self._lines.values(),
            key=lambda each: (each.worker, each.portal, each.tin or "", each.function or ""),
        )
        for line in ordered:
            yield (
                line.worker, line.portal, line.tin, line.function,
                self._reviewer.get(line.review_id, line.reviewer), line.reviewer_rule,
                line.opened_at, line.opened_in, line.outcome, line.decided_by, line.decided_at,
                line.decided_in, line.reason, " ".join(line.risks), line.advice, line.corrected,
                line.removed_at, line.hours, line.grade, line.removed_in,
            )  # fmt: skip

    def summary(self) -> dict[str, Any]:
        """The campaign in numbers, what to look at first, and whether all is accounted for."""
        lines = self._lines.values()
        outcomes = [line.outcome for line in lines]
        hours = sorted(line.hours for line in lines if line.hours is not None)
        return {
            "campaign_id": self.campaign_id,
            "opened": self._opened,
            "closed": self._closed,
            "population": {
                "workers": len({line.worker for line in lines}),
                "reviews": len({line.review_id for line in lines}),
                "lines": len(self._lines),
                "reviewers": len(
                    {self._reviewer.get(line.review_id, line.reviewer) for line in lines}
                ),
            },
            "outcomes": {name: outcomes.count(name) for name in sorted(set(outcomes))},
            "removals": {
                "confirmed": len(hours),
                "median_hours": hours[len(hours) // 2] if hours else None,
                "longest_hours": hours[-1] if hours else None,
                "overdue": sum(line.overdue for line in lines),
            },
            "exceptions": [
                {
                    "worker": line.worker,
                    "portal": line.portal,
                    "function": line.function,
                    "why": line.exception,
                    "reason": line.reason,
                    "decided_by": line.decided_by,
                    "entry": line.decided_in or line.opened_in,
                }
                for line in lines
                if line.exception
            ],
            "gaps": self._gaps(outcomes),
        }

    def _gaps(self, outcomes: Sequence[str]) -> list[str]:
        """Why the record is not whole, if it is not."""
        found = []
        if self._unreadable:
            found.append(f"{self._unreadable} entries were erased and cannot be counted.")
        if self._opened is None:
            found.append("The entry that opens the campaign is not here.")
        if self._closed is None:
            found.append("The campaign is not closed yet: what is open can still change.")
            return found
        for name in HOLDS:
            if outcomes.count(name) != self._closed[name]:
                found.append(
                    f"{outcomes.count(name)} lines are {name}; the closing counted "
                    f"{self._closed[name]}."
                )
        left = len(outcomes) - sum(outcomes.count(name) for name in HOLDS)
        if left:
            found.append(f"{left} lines have no end although the campaign is closed.")
        return found
