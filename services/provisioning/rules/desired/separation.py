"""Separation of duties: who holds one side of it never holds the other."""

from collections.abc import Mapping, Sequence

from services.provisioning.rules.desired.rights import Right
from shared.contracts.directory import (
    Function,
    Separation,
    Side,
)
from shared.values import value_class


@value_class(frozen=True, slots=True)
class Holding:
    """Duties and functions, as the sides of a separation name them."""

    duties: frozenset[str]
    functions: frozenset[Function]

    def touches(self, side: Side) -> bool:
        """Whether any of it is named."""
        return not (
            self.duties.isdisjoint(side.duties) and self.functions.isdisjoint(side.functions)
        )


def separated(rule: Separation, holder: Holding, other: Holding) -> bool:
    """Whether whoever has `holder` must not have `other`."""
    return rule.enforced and holder.touches(rule.holders) and other.touches(rule.never)


def separation_between(
    right: Right,
    because: Mapping[Right, set[str]],
    held: Holding,
    rules: Sequence[Separation],
) -> tuple[str, str] | None:
    """The separation that withholds a right from somebody who holds `held`.

    A side that names duties withholds what nothing but those duties would give.
    """
    for rule in rules:
        if not rule.enforced or not held.touches(rule.holders):
            continue
        duties = because.get(right, set())
        if right[2] in rule.never.functions or (
            duties and duties <= set(rule.never.duties) and not duties & set(rule.holders.duties)
        ):
            return "separation_of_duties", f"{rule.id}: {rule.reason}"
    return None
