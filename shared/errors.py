"""Errors that have names: what a client can act on, and what a record is refused for."""

from collections.abc import Mapping, Sequence
from typing import Any


class Problem(Exception):
    """A named refusal. `detail` tells the reader what to do next.

    Args:
        status: the HTTP status.
        code: a stable name that programs may rely on.
        detail: one or two sentences for a person.
        errors: everything that was found, where that is more than the detail says.
        headers: of the HTTP answer, e.g. Retry-After.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers
        self.said = False
        """Whether an event tells of it already."""


class Unusable(Exception):
    """What a process needs is missing or wrong; the sentence says which, and what to do."""


class Rejected(Exception):
    """Input that is refused for a named reason; on Kafka it becomes a dead letter, kept whole.

    Args:
        code: the stable name of the rule.
        detail: what is wrong, in words; never contains personal data.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
