"""Sending HR events to the gateway as Standard Webhooks, until each has an answer."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import yaml
from standardwebhooks import Webhook

from services.cli.client import Exit, Failure, no_answer

CHUNK_EVENTS = 500
CHUNK_BYTES = 900 * 1024
"""Below the gateway's limit of 1 MiB."""

ATTEMPTS = 8
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
REQUEST_SECONDS = 60
BATCH = "application/cloudevents-batch+json"


@dataclass(slots=True)
class Sent:
    """What the gateway answered, over all requests."""

    accepted: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)


def read_events(path: Path) -> list[dict[str, Any]]:
    """The CloudEvents in a file: a JSON array, JSON Lines, or one event.

    Raises:
        Failure: the file is missing or holds something else.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise Failure(Exit.USAGE, f"{path} cannot be read: {error.strerror}.") from error
    try:
        document = orjson.loads(raw)
        events = document if isinstance(document, list) else [document]
    except orjson.JSONDecodeError:
        events = [_line(path, number, line) for number, line in enumerate(raw.splitlines(), 1)]
        events = [event for event in events if event is not None]
    if not all(isinstance(event, dict) for event in events):
        raise Failure(Exit.USAGE, f"{path} must hold CloudEvents: JSON objects.")
    return events


def _line(path: Path, number: int, line: bytes) -> Any:
    if not line.strip():
        return None
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Failure(Exit.USAGE, f"{path}, line {number}, is not JSON.") from error


def read_secret(path: Path, source: str | None) -> str:
    """The webhook secret: a file with the secret alone, or the gateway's sources file.

    Raises:
        Failure: the file is missing, or has no secret for the events' source.
    """
    try:
        text = path.read_text().strip()
    except OSError as error:
        raise Failure(
            Exit.USAGE,
            f"The secret of the HR source cannot be read from {path} ({error.strerror}). Name it "
            "with --secret-file or in PORTALKEEPER_HR_SECRET.",
        ) from error
    if text.startswith("whsec_"):
        return text.split()[0]
    try:
        return str(yaml.safe_load(text)["sources"][source]["secrets"][0])
    except (yaml.YAMLError, KeyError, TypeError, IndexError) as error:
        raise Failure(Exit.USAGE, f"{path} holds no secret for the source {source!r}.") from error


def send(
    events: Sequence[dict[str, Any]], url: str, secret: str, progress: Callable[[int], None]
) -> Sent:
    """Send all events in chunks; a chunk whose fate is unknown is sent again with the same ids.

    Args:
        progress: called with how many events have got an answer.

    Raises:
        Failure: the signature is refused, or the gateway gives no answer in many attempts.
    """
    try:
        webhook = Webhook(secret)
    except (ValueError, RuntimeError) as error:
        raise Failure(Exit.USAGE, "The secret is not whsec_ and base64.") from error
    sent = Sent()
    done = 0
    with httpx.Client(timeout=REQUEST_SECONDS) as http:
        for chunk, body in _chunks(events):
            answer = _send_chunk(http, url, webhook, body)
            sent.accepted += answer["accepted"]
            for result in answer["results"]:
                if result["status"] == "rejected":
                    sent.rejected.append({**result, "index": done + result["index"]})
                for name in result.get("dropped", ()):
                    sent.dropped[name] = sent.dropped.get(name, 0) + 1
            done += chunk
            progress(done)
    return sent


def _chunks(events: Sequence[dict[str, Any]]) -> Iterator[tuple[int, bytes]]:
    pending: list[bytes] = []
    size = 0
    for event in events:
        raw = orjson.dumps(event)
        if pending and (len(pending) == CHUNK_EVENTS or size + len(raw) > CHUNK_BYTES):
            yield len(pending), b"[" + b",".join(pending) + b"]"
            pending, size = [], 0
        pending.append(raw)
        size += len(raw) + 1
    if pending:
        yield len(pending), b"[" + b",".join(pending) + b"]"


def _send_chunk(http: httpx.Client, url: str, webhook: Webhook, body: bytes) -> dict[str, Any]:
    id_ = f"msg_{uuid4().hex}"
    pause = FIRST_PAUSE_SECONDS
    failure: Failure | None = None
    for _ in range(ATTEMPTS):
        try:
            response = http.post(url, content=body, headers=signed(webhook, id_, body))
        except httpx.HTTPError:
            failure = no_answer("The gateway", url)
        else:
            if response.status_code in (202, 422):
                answer: dict[str, Any] = response.json()
                return answer
            if response.status_code not in (429, 503):
                raise _refusal(response)
            failure = Failure(
                Exit.NO_ANSWER,
                "The gateway could not say whether the events were stored, or wants them slower. "
                "Send the same file again: what was stored is recognized.",
            )
            pause = max(pause, _seconds(response.headers.get("retry-after")))
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
    assert failure is not None
    raise failure


def signed(webhook: Webhook, id_: str, body: bytes, media_type: str = BATCH) -> dict[str, str]:
    """Headers that sign a body, which must be UTF-8, as Standard Webhooks."""
    # The library takes a naive instant for UTC, and the body as text.
    now = datetime.now(UTC).replace(tzinfo=None)
    return {
        "content-type": media_type,
        "webhook-id": id_,
        "webhook-timestamp": str(int(now.replace(tzinfo=UTC).timestamp())),
        "webhook-signature": webhook.sign(id_, now, body.decode()),
    }


def _refusal(response: httpx.Response) -> Failure:
    try:
        problem = response.json()
        sentence = f"The gateway refused ({problem['code']}): {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        sentence = f"The gateway answered {response.status_code}."
    if response.status_code in (401, 403):
        return Failure(Exit.NOT_ALLOWED, sentence)
    return Failure(Exit.REFUSED if response.status_code < 500 else Exit.NO_ANSWER, sentence)


def _seconds(value: str | None) -> float:
    try:
        return min(float(value or 0), LONGEST_PAUSE_SECONDS)
    except ValueError:
        return 0.0
