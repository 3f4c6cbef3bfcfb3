"""What a connector is: a way to have one operation carried out somewhere, told in two types.

To add one: a file here with a class that has `carry_out`, and its line in `main.py`. Portals name
it in the directory.
"""

from dataclasses import dataclass
from typing import Protocol

from services.provisioning.rules.operations import Operation


@dataclass(frozen=True, slots=True)
class Asked:
    """One operation to carry out, and what of its person the other side may need to know."""

    organization: str
    operation: Operation
    login_id: str | None
    name: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class Done:
    """The other side holds it now. `text` is its answer in words, the evidence."""

    text: str
    login_id: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The other side will not do it as asked; a person must look."""

    text: str


@dataclass(frozen=True, slots=True)
class NotNow:
    """The other side does not answer, or asks to be left alone for a while."""

    text: str
    after_seconds: float | None = None


Answer = Done | Refused | NotNow


class Connector(Protocol):
    """Carries out operations. Asking twice for the same must be harmless: calls are repeated."""

    name: str

    async def carry_out(self, asked: Asked) -> Answer:
        """Have one operation done; never raises for what the other side says or does not say."""
        ...
