"""What several kinds of facts about access say in the same way."""

from pydantic import BaseModel, ConfigDict

from shared.contracts.directory import Function

Right = tuple[str, Function]
"""(TIN, function) on the portal that the event names."""


class Evidence(BaseModel):
    """What shows that work was done: a confirmation number, a roster line, or a note in words."""

    model_config = ConfigDict(frozen=True)

    kind: str
    text: str
