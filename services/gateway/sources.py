"""HR sources: who may speak for which organization, shown by a Standard Webhooks signature.

The file maps each CloudEvents `source` to its organizations and first secrets:

    sources:
      cedar-sound-hr:
        organizations: [cedar-sound]
        secrets: ["whsec_…"]

      cedar-sound-bamboohr:
        organizations: [cedar-sound]
        vendor: {name: bamboohr, webhook_keys: ["…"], api_url: "https://cedarsound.bamboohr.com",
                 api_key: "…", sites: {Tacoma: tacoma}, leave_statuses: [Leave of Absence]}

`portalkeeper hr secret rotate` makes further ones, which are kept sealed in the database; what they
replace, in the file or there, counts until its end, so that a sender has time to change over.

The signature alone tells who sent a request, so nothing of a body is read before it is verified.
One sender may sign for several sources with one secret.
"""

import binascii
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from standardwebhooks import Webhook, WebhookVerificationError

from shared.contracts.hr import describe

REPLAY_WINDOW_SECONDS = 300
"""How far a request's timestamp may be from our clock; fixed by the Standard Webhooks library."""

MIN_SECRET_BYTES = 24
"""The least that Standard Webhooks recommends."""


class OAuth(BaseModel):
    """An application's own standing with a vendor, for tokens that end and are replaced.

    `refresh_token` is the first; those that follow are kept sealed. `subscription` is the id of the
    webhook subscription that is confirmed when the vendor sends its token.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    client_id: str = Field(min_length=1)
    client_secret: str = Field(min_length=1)
    redirect_uri: str = Field(min_length=1)
    refresh_token: str = Field(min_length=1)
    subscription: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]{1,64}$")


class VendorAccess(BaseModel):
    """How a vendor's webhooks are recognized, and its API is asked.

    With `oauth`, the key of the API is got and renewed, and webhook keys may come by themselves.

    `sites` are the vendor's places as the directory names them; `leave_statuses` are the vendor's
    employment statuses that mean a leave.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    webhook_keys: tuple[Annotated[str, Field(min_length=16)], ...] = ()
    api_url: Annotated[str, StringConstraints(pattern=r"^(https://|http://127\.0\.0\.1[:/])")]
    api_key: str = ""
    oauth: OAuth | None = None
    sites: dict[str, str] = Field(default_factory=dict)
    leave_statuses: frozenset[str] = frozenset()

    @model_validator(mode="after")
    def _is_enough(self) -> Self:
        if self.oauth is None and not (self.api_key and self.webhook_keys):
            raise ValueError("give the vendor webhook_keys and an api_key, or oauth")
        return self


class Source(BaseModel):
    """One HR source; any of its secrets counts. A vendor's webhooks are for one organization."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    organizations: frozenset[Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,63}$")]] = (
        Field(min_length=1)
    )
    secrets: tuple[str, ...] = ()
    vendor: VendorAccess | None = None

    @model_validator(mode="after")
    def _can_be_recognized(self) -> Self:
        if self.vendor is None and not self.secrets:
            raise ValueError("give it secrets, or a vendor with webhook_keys")
        if self.vendor is not None and len(self.organizations) != 1:
            raise ValueError("a vendor's webhooks are for one organization")
        return self


class SourcesFile(BaseModel):
    """The file's content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: dict[str, Source]


@dataclass(frozen=True, slots=True)
class KeptSecret:
    """What the database knows of a secret: itself, unless the file holds it, and its end (UTC)."""

    source: str
    sha256: bytes
    secret: str | None
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Verifier:
    source: str
    webhook: Webhook
    ends_at: datetime | None


def secret_sha256(secret: str) -> bytes:
    """What a secret is called where it must not be shown."""
    return hashlib.sha256(secret.encode()).digest()


class Sources:
    """The configured sources and the verification of what they sign."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = dict(sources)
        self._verifiers: tuple[_Verifier, ...] = ()
        self.renew(())

    def renew(self, kept: Iterable[KeptSecret]) -> None:
        """Take over what the database knows of secrets now, in place of what it knew before."""
        known = list(kept)
        ends = {(one.source, one.sha256): one.ends_at for one in known}
        verifiers = [
            _Verifier(name, Webhook(secret), ends.get((name, secret_sha256(secret))))
            for name, source in self._sources.items()
            for secret in source.secrets
        ]
        verifiers += [
            _Verifier(one.source, Webhook(one.secret), one.ends_at)
            for one in known
            if one.secret is not None and one.source in self._sources
        ]
        self._verifiers = tuple(verifiers)

    @property
    def organizations(self) -> frozenset[str]:
        """Every organization that some source speaks for."""
        return frozenset().union(*(source.organizations for source in self._sources.values()))

    def names(self, organization: str) -> list[str]:
        """The sources that may speak for an organization, sorted."""
        return sorted(
            name for name, source in self._sources.items() if organization in source.organizations
        )

    def of_vendor(self, vendor: str) -> dict[str, tuple[str, VendorAccess]]:
        """The sources behind a vendor's webhooks: each with its organization and its access."""
        return {
            name: (next(iter(source.organizations)), source.vendor)
            for name, source in self._sources.items()
            if source.vendor is not None and source.vendor.name == vendor
        }

    def secrets_in_file(self, name: str) -> list[bytes]:
        """SHA-256 of the secrets that the file gives a source."""
        return [secret_sha256(secret) for secret in self._sources[name].secrets]

    def signed_by(self, body: bytes, headers: Mapping[str, str]) -> dict[str, frozenset[str]]:
        """The sources that the signature speaks for, each with its organizations; none if invalid.

        Every secret that has not ended is tried, each compared in constant time.

        Args:
            body: the request's bytes exactly as received.
            headers: `webhook-id`, `webhook-timestamp` (Unix seconds) and `webhook-signature`.
        """
        given = {name.lower(): value for name, value in headers.items()}
        now = datetime.now(UTC)
        names: set[str] = set()
        for verifier in self._verifiers:
            if verifier.ends_at is not None and verifier.ends_at <= now:
                continue
            try:
                verifier.webhook.verify(body, given, json_parse=False)
            except (WebhookVerificationError, binascii.Error, ValueError):
                # The library raises plain ValueErrors for malformed headers and bodies that are
                # not UTF-8.
                continue
            names.add(verifier.source)
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
