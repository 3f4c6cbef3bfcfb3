"""Bodies, read no further than their limit."""

from fastapi import Request

from shared.errors import Problem


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The body.

    Raises:
        Problem: 413 when it is larger.
    """
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit_bytes:
            raise Problem(
                413, "body_too_large", f"Send at most {limit_bytes} bytes in one request."
            )
        chunks.append(chunk)
    return b"".join(chunks)
