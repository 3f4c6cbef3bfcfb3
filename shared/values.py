"""Values: built once, compared by content, never changed. Millions are built while catching up."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["value_class"]

if TYPE_CHECKING:
    from dataclasses import dataclass as value_class
else:
    from dataclasses import dataclass

    def value_class(*, frozen, slots):
        """`dataclass`, frozen for the type checker, which refuses every assignment.

        At run time it is not: a frozen class takes three times as long to build, which was a tenth
        of everything provisioning does.
        """
        return dataclass(slots=slots, unsafe_hash=frozen)
