"""JSON as statements take it."""

import orjson


def json_text(value: object) -> str:
    """JSON for a text parameter; instants are RFC 3339 in UTC with Z."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()
