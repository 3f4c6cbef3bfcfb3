"""HR sources: who may speak for which organization, shown by a Standard Webhooks signature.

The file maps each CloudEvents `source` to its organizations and secrets; while a secret is being
rotated a source has two, and either is accepted:

    sources:
      cedar-sound-hr:
        organizations: [cedar-sound]
        secrets: ["whsec_…", "whsec_…"]

The signature alone tells who sent a request, so nothing of a body is read before it is verified.
One sender may sign for several sources with one secret.
"""

import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from shared.contracts.hr import describe

REPLAY_WINDOW_SECONDS = 300
"""How far a request's timestamp may be from our clock; fixed by the Standard Webhooks library."""

MIN_SECRET_BYTES = 24
"""The least that Standard Webhooks recommends."""


class Source(BaseModel):
    """One HR source. The first secret is the current one, the others are on their way out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    organizations: frozenset[Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,63}$")]] = (
        Field(min_length=1)
    )
    secrets: tuple[str, ...] = Field(min_length=1)


class SourcesFile(BaseModel):
    """The file's content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: dict[str, Source]


class Sources:
    """The configured sources and the verification of what they sign."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = dict(sources)
        by_secret: dict[str, set[str]] = {}
        for name, source in self._sources.items():
            for secret in source.secrets:
                by_secret.setdefault(secret, set()).add(name)
        self._verifiers = [
            (Webhook(secret), frozenset(names)) for secret, names in by_secret.items()
        ]

    @property
    def organizations(self) -> frozenset[str]:
        """Every organization that some source speaks for."""
        return frozenset().union(*(source.organizations for source in self._sources.values()))

    def names(self, organization: str) -> list[str]:
        """The sources that may speak for an organization, sorted."""
        return sorted(
            name for name, source in self._sources.items() if organization in source.organizations
        )

    def signed_by(self, body: bytes, headers: Mapping[str, str]) -> dict[str, frozenset[str]]:
        """The sources that the signature speaks for, each with its organizations; none if invalid.

        Every configured secret is tried, each compared in constant time.

        Args:
            body: the request's bytes exactly as received.
            headers: `webhook-id`, `webhook-timestamp` (Unix seconds) and `webhook-signature`.
        """
        given = {name.lower(): value for name, value in headers.items()}
        names: set[str] = set()
        for verifier, speakers in self._verifiers:
            try:
                verifier.verify(body, given, json_parse=False)
            except (WebhookVerificationError, binascii.Error, ValueError):
                # The library raises plain ValueErrors for malformed headers and bodies that are
                # not UTF-8.
                continue
            names |= speakers
        return {name: self._sources[name].organizations for name in names}


def load_sources(path: Path) -> Sources:
    """Read the sources file.

    Raises:
        ValueError: the file is missing or malformed; the message never repeats a secret.
    """
    try:
        content = SourcesFile.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise ValueError(f"The HR sources file {path} cannot be read: {error.strerror}.") from None
    except yaml.YAMLError:
        raise ValueError(f"The HR sources file {path} is not YAML.") from None
    except ValidationError as error:
        raise ValueError(f"The HR sources file {path} is wrong: {describe(error)}.") from None
    for name, source in content.sources.items():
        for secret in source.secrets:
            _check_secret(name, secret)
    return Sources(content.sources)


def _check_secret(source: str, secret: str) -> None:
    try:
        key = binascii.a2b_base64(secret.removeprefix("whsec_").encode() + b"==")
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < MIN_SECRET_BYTES:
        raise ValueError(
            f"A secret of HR source {source!r} is too short: use whsec_ and the base64 of at least "
            f"{MIN_SECRET_BYTES} random bytes."
        )
