"""How answers that are no JSON are described in the OpenAPI."""

from typing import Any

from fastapi import Response


def answers_with(*media_types: str) -> dict[str, Any]:
    """Arguments of a route that answers with one of these content types."""
    content = {each: {"schema": {"type": "string"}} for each in media_types}
    return {"response_class": Response, "responses": {200: {"content": content}}}
