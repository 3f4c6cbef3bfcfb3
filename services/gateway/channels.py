"""Ways to reach people: mail, text messages and chats through apprise, and signed webhooks.

`PORTALKEEPER_NOTIFY_FILE` names a YAML file, which holds passwords and is kept like one:

    cedar-sound:
      digest_at: "08:00"                # in the organization's zone
      channels:                         # {address} becomes a person's own
        email: "mailtos://user:password@mail.example.org?from=portalkeeper@example.org&to={address}"
        sms: "twilio://SID:TOKEN@15005550006/{address}"
      teams:                            # places that several people read: urgent matters only
        - {name: on-call, url: "slack://…"}
      webhooks:                         # Standard Webhooks; two secrets while one is replaced
        - {id: pager, url: "https://pager.example.org/hook", secrets: [whsec_…], kinds: [removal]}

The addresses of channels are as https://github.com/caronc/apprise writes them. `email` without an
address of somebody's own uses the one that HR gives.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import structlog
import yaml
from apprise import Apprise
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from standardwebhooks import Webhook

from services.gateway.rules.notices import Kind
from shared.contracts.hr import describe

logger = structlog.get_logger(__name__)

ANSWER_SECONDS = 15
ADDRESS_MAX_CHARACTERS = 200
EMAIL = "email"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,40}$")]


class Team(BaseModel):
    """A place that several people read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    url: str


class Hook(BaseModel):
    """Where a program is told. The first secret signs, so do the others while they are there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Name
    url: str = Field(pattern=r"^https?://")
    secrets: tuple[str, ...] = Field(min_length=1)
    kinds: tuple[Kind, ...] = tuple(Kind)


class Reach(BaseModel):
    """How the people of one organization are reached."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest_at: time = time(8)
    channels: dict[Name, str] = {}
    teams: tuple[Team, ...] = ()
    webhooks: tuple[Hook, ...] = ()


class Channels:
    """Sends messages."""

    def __init__(self, reach: Mapping[str, Reach], http: httpx.AsyncClient) -> None:
        self.reach = dict(reach)
        self._http = http

    async def send(
        self, organization: str, addresses: Mapping[str, str], title: str, text: str, key: str
    ) -> list[str]:
        """Send to somebody's addresses, by channel; the channels that took it.

        Args:
            key: what the message is known by at the other end, should it arrive twice.
        """
        took = []
        for name, address in addresses.items():
            template = self.reach[organization].channels.get(name)
            if template is not None:
                url = template.replace("{address}", quote(address, safe=""))
                if await self._notify(url, title, text, key):
                    took.append(name)
        return took

    async def send_to_team(
        self, organization: str, name: str, title: str, text: str, key: str
    ) -> bool:
        """Send to a place that several people read."""
        team = next((each for each in self.reach[organization].teams if each.name == name), None)
        return team is not None and await self._notify(team.url, title, text, key)

    async def send_to_webhook(
        self, organization: str, id_: str, key: str, payload: Mapping[str, Any]
    ) -> bool:
        """Send a signed document; it keeps its id however often it is sent."""
        hooks = self.reach[organization].webhooks
        hook = next((each for each in hooks if each.id == id_), None)
        if hook is None:
            return False
        body, now = json.dumps(payload), datetime.now(UTC)
        # The library takes the instant as UTC without saying so.
        at = now.replace(tzinfo=None)
        headers = {
            "content-type": "application/json",
            "webhook-id": key,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(
                Webhook(secret).sign(key, at, body) for secret in hook.secrets
            ),
        }
        try:
            answer = await self._http.post(
                hook.url, content=body, headers=headers, timeout=ANSWER_SECONDS
            )
        except httpx.HTTPError as error:
            logger.warning("webhook.no_answer", webhook=id_, error=type(error).__name__)
            return False
        if not answer.is_success:
            logger.warning("webhook.refused", webhook=id_, status=answer.status_code)
        return answer.is_success

    async def _notify(self, url: str, title: str, text: str, key: str) -> bool:
        # Mail carries the key as a header; other channels have no place for it.
        mail = url.startswith("mailto")
        known_by = f"{'&' if '?' in url else '?'}+X-Portalkeeper-Key={quote(key, safe='')}"
        sender = Apprise()
        if not sender.add(url + known_by if mail else url):
            logger.error("channel.malformed", scheme=url.partition(":")[0])
            return False
        return bool(await sender.async_notify(body=text, title=title))


def load_channels(path: Path | None) -> dict[str, Reach]:
    """Read the file; nobody is told anything without one.

    Raises:
        ValueError: the file is missing or malformed; the message never repeats a password.
    """
    if path is None:
        return {}
    try:
        found = yaml.safe_load(path.read_text())
        return TypeAdapter(dict[str, Reach]).validate_python(found)
    except OSError as error:
        raise ValueError(f"The file {path} cannot be read: {error.strerror}.") from None
    except yaml.YAMLError:
        raise ValueError(f"The file {path} is not YAML.") from None
    except ValidationError as error:
        raise ValueError(f"The file {path} is wrong: {describe(error)}.") from None


def addresses_in(given: Mapping[str, str], channels: Sequence[str]) -> dict[str, str]:
    """Somebody's addresses by channel, without blanks and those that there is no channel for."""
    return {
        name: address.strip()[:ADDRESS_MAX_CHARACTERS]
        for name, address in given.items()
        if name in channels and address.strip()
    }
