"""How much one HR source may send, so that a sender gone wild does not stand in others' way."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

MINUTE_SECONDS = 60.0


@dataclass(slots=True)
class Allowance:
    """What a source has left: at most a minute's worth, which comes back evenly."""

    per_minute: float
    left: float
    at: float

    def take(self, cost: float, now: float) -> float:
        """0 if `cost` was there and is taken; else after how many seconds it will be.

        More than a minute's worth at once is let through a full allowance and paid back later.

        Args:
            now: seconds of a clock that never goes back.
        """
        grown = self.left + (now - self.at) * self.per_minute / MINUTE_SECONDS
        self.left, self.at = min(self.per_minute, grown), now
        lacking = min(cost, self.per_minute) - self.left
        if lacking <= 0:
            self.left -= cost
            return 0.0
        return lacking * MINUTE_SECONDS / self.per_minute


@dataclass(slots=True)
class Rates:
    """The allowances of all sources, in events per minute and process."""

    events_per_minute: int
    _allowances: dict[str, Allowance] = field(default_factory=dict)

    def wait_for(self, sources: Iterable[str], events: int, now: float) -> int:
        """Whole seconds that a sender must wait before `events` of these sources; 0: go on."""
        waits = []
        for source in sources:
            allowance = self._allowances.setdefault(
                source, Allowance(self.events_per_minute, self.events_per_minute, now)
            )
            waits.append(allowance.take(events, now))
        return math.ceil(max(waits, default=0.0))
