"""How long removals took, as it is shown: so many within each span."""

from bisect import bisect_left
from collections.abc import Iterable

SPANS_MINUTES = (1, 5, 15, 60, 4 * 60, 24 * 60, 3 * 24 * 60)
"""Upper bounds, each included; what took longer is told after the last."""


def spread(minutes: Iterable[float]) -> list[tuple[int | None, int]]:
    """How many removals took up to each bound and longer than the one before; None: any longer."""
    counted = [0] * (len(SPANS_MINUTES) + 1)
    for taken in minutes:
        counted[bisect_left(SPANS_MINUTES, taken)] += 1
    return list(zip((*SPANS_MINUTES, None), counted, strict=True))
