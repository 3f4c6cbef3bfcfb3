"""What a campaign would ask: how much, and of whom."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.review_scheduler.rules.opening import NewReview
from shared.contracts.review import ReviewerRule


@dataclass(slots=True)
class Load:
    """What falls to one reviewer."""

    rules: dict[ReviewerRule, None] = field(default_factory=dict)
    reviews: int = 0
    lines: int = 0


@dataclass(slots=True)
class Preview:
    """Counts that grow with every part of the workers that was looked at."""

    workers: set[str] = field(default_factory=set)
    reviews: int = 0
    lines: int = 0
    elsewhere: int = 0
    loads: dict[str | None, Load] = field(default_factory=dict)

    def add(self, reviews: Collection[NewReview], elsewhere: int) -> None:
        """Count what would be opened, and what another campaign asks about already."""
        self.elsewhere += elsewhere
        for review in reviews:
            self.workers.add(review.worker)
            self.reviews += 1
            self.lines += len(review.lines)
            load = self.loads.setdefault(review.reviewer, Load())
            load.rules[review.reviewer_rule] = None
            load.reviews += 1
            load.lines += len(review.lines)

    @property
    def reviewers(self) -> list[str]:
        """Their worker ids."""
        return [each for each in self.loads if each is not None]

    def told(self, title: str, due_at: datetime, names: Mapping[str, str | None]) -> dict[str, Any]:
        """As it is answered: reviewers by how many lines fall to them, most first."""
        loads = sorted(self.loads.items(), key=lambda each: (-each[1].lines, each[0] or ""))
        return {
            "title": title,
            "due_at": due_at,
            "workers": len(self.workers),
            "reviews": self.reviews,
            "lines": self.lines,
            "elsewhere": self.elsewhere,
            "reviewers": [
                {
                    "reviewer": reviewer,
                    "name": names.get(reviewer) if reviewer else None,
                    "rules": list(load.rules),
                    "reviews": load.reviews,
                    "lines": load.lines,
                }
                for reviewer, load in loads
            ],
        }
