"""SCIM 2.0 (RFC 7643, RFC 7644): vault seats and identity providers, which do have an interface.

A worker is found by `externalId`, the worker id, or else by user name; so asking twice, or after
somebody made the user by hand, comes to the same. What is gone already counts as removed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scim2_client import RequestNetworkException, SCIMClientException
from scim2_client.engines.httpx2 import AsyncSCIMClient
from scim2_models import (
    Error,
    Group,
    PatchOp,
    ScimProvider,
    SearchRequest,
    User,
)

from services.provisioning.connectors.protocol import Answer, Asked, Done, NotNow, Refused
from shared.contracts.directory import Function, OperationKind

TIMEOUT_SECONDS = 20.0
BUSY = frozenset({408, 429, 500, 502, 503, 504})
GONE = 404
TAKEN = 409


class ScimEndpoint(BaseModel):
    """One SCIM service that a portal of the directory stands for.

    `token_file` holds its bearer token. `groups` names the group that gives each function there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    organization: str
    portal: str
    url: str = Field(pattern=r"^https?://")
    token_file: Path
    groups: dict[Function, str] = {}


def load_endpoints(path: Path | None) -> dict[tuple[str, str], ScimEndpoint]:
    """The SCIM services in a YAML file (a list), by (organization, portal); none without a file.

    Raises:
        ValueError: the file is no such list, or names a portal twice.
        OSError: it cannot be read.
    """
    if path is None:
        return {}
    try:
        listed = [
            ScimEndpoint.model_validate(one) for one in yaml.safe_load(path.read_text()) or ()
        ]
    except (yaml.YAMLError, ValidationError, TypeError) as error:
        raise ValueError(f"{path} is no list of SCIM services: {error}") from error
    endpoints = {(one.organization, one.portal): one for one in listed}
    if len(endpoints) != len(listed):
        raise ValueError(f"{path} names a portal twice")
    return endpoints


class _Told(Exception):
    """The service answered with an error."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.detail or f"status {error.status}")
        self.status = int(error.status or 0)


class ScimConnector:
    """Carries out operations at SCIM services."""

    name = "scim"

    def __init__(self, endpoints: Mapping[tuple[str, str], ScimEndpoint]) -> None:
        self._endpoints = endpoints

    async def carry_out(self, asked: Asked) -> Answer:
        """Have one operation done at the portal's SCIM service."""
        endpoint = self._endpoints.get((asked.organization, asked.operation.portal))
        if endpoint is None:
            return Refused(f"No SCIM service is configured for {asked.operation.portal}.")
        try:
            headers = {"Authorization": f"Bearer {endpoint.token_file.read_text().strip()}"}
            async with httpx2.AsyncClient(
                base_url=endpoint.url, headers=headers, timeout=TIMEOUT_SECONDS
            ) as http:
                return await _Session(http, endpoint, asked).carry_out()
        except OSError as error:
            return NotNow(f"The token cannot be read: {error.strerror}")
        except RequestNetworkException as error:
            return NotNow(f"The service does not answer: {type(error.__cause__).__name__}")
        except _Told as told:
            if told.status in BUSY:
                return NotNow(f"The service is busy ({told.status}).")
            return Refused(f"The service refused ({told.status}): {told}")
        except SCIMClientException as error:
            return NotNow(f"The service answered what SCIM does not know: {type(error).__name__}")


class _Session:
    """One operation at one service."""

    def __init__(self, http: httpx2.AsyncClient, endpoint: ScimEndpoint, asked: Asked) -> None:
        self._scim = AsyncSCIMClient(http, provider=ScimProvider(models=(User, Group)))
        self._groups = endpoint.groups
        self._asked = asked

    async def carry_out(self) -> Answer:
        operation = self._asked.operation
        handlers: Mapping[OperationKind, Callable[[], Awaitable[Answer]]] = {
            OperationKind.OPEN: self._give,
            OperationKind.RESUME: self._give,
            OperationKind.GRANT: self._give,
            OperationKind.SUSPEND: self._deactivate,
            OperationKind.ROTATE: self._deactivate,
            OperationKind.REVOKE: self._revoke,
            OperationKind.CLOSE: self._delete,
        }
        handler = handlers.get(operation.kind)
        if handler is None:
            return Refused(f"{operation.kind.value} is work for a person.")
        return await handler()

    async def _give(self) -> Answer:
        user = await self._find() or await self._create()
        if user.external_id not in (None, "", self._asked.operation.worker):
            return Refused(f"{user.user_name} belongs to somebody else there.")
        if user.active is False:
            await self._patch_user(user, "active", value=True)
        for _, function in self._asked.operation.rights:
            if function in self._groups:
                await self._change_membership(self._groups[function], user, add=True)
        return Done(f"SCIM user {user.id} ({user.user_name}) is active", user.user_name)

    async def _deactivate(self) -> Answer:
        user = await self._find()
        if user is None:
            return Done("SCIM: there is no such user (404)", self._asked.login_id)
        await self._patch_user(user, "active", value=False)
        return Done(f"SCIM user {user.id} is not active any more", user.user_name)

    async def _revoke(self) -> Answer:
        function = self._asked.operation.function
        if function is None:
            return await self._deactivate()
        user = await self._find()
        if user is None:
            return Done("SCIM: there is no such user (404)", self._asked.login_id)
        if function not in self._groups:
            return Refused(f"No group there stands for {function.value}.")
        await self._change_membership(self._groups[function], user, add=False)
        return Done(f"SCIM user {user.id} is not in {self._groups[function]}", user.user_name)

    async def _delete(self) -> Answer:
        user = await self._find()
        if user is not None:
            answer = await self._scim.delete(User, user.id, raise_scim_errors=False)
            if isinstance(answer, Error) and answer.status != GONE:
                raise _Told(answer)
        return Done("SCIM: the user is deleted", self._asked.login_id)

    async def _find(self) -> User[Any] | None:
        wanted = [("externalId", self._asked.operation.worker)]
        wanted += [("userName", name) for name in (self._asked.login_id, self._user_name) if name]
        for attribute, value in wanted:
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            found = await self._list(User, f'{attribute} eq "{escaped}"')
            if found:
                user: User[Any] = found[0]
                return user
        return None

    @property
    def _user_name(self) -> str:
        return self._asked.email or self._asked.operation.worker

    async def _create(self) -> User[Any]:
        wanted: User[Any] = User(
            user_name=self._user_name,
            external_id=self._asked.operation.worker,
            display_name=self._asked.name or self._asked.operation.worker,
            active=True,
        )
        made = await self._scim.create(wanted, raise_scim_errors=False)
        if isinstance(made, Error):
            if made.status == TAKEN and (user := await self._find()):
                return user
            raise _Told(made)
        assert isinstance(made, User)
        return made

    async def _patch_user(self, user: User[Any], path: str, *, value: bool) -> None:
        await self._patch(User, user.id, {"op": "replace", "path": path, "value": value})

    async def _change_membership(self, name: str, user: User[Any], *, add: bool) -> None:
        groups = await self._list(Group, f'displayName eq "{name}"')
        if not groups:
            if not add:
                return
            made = await self._scim.create(Group(display_name=name), raise_scim_errors=False)
            if isinstance(made, Error):
                raise _Told(made)
            groups = [made]
        change: dict[str, Any] = {"op": "remove", "path": f'members[value eq "{user.id}"]'}
        if add:
            change = {"op": "add", "path": "members", "value": [{"value": user.id}]}
        await self._patch(Group, groups[0].id, change)

    async def _patch(self, model: type[Any], id_: Any, change: dict[str, Any]) -> None:
        # The resource type resolves the paths, so the message is made for it at run time.
        message: Any = PatchOp.__class_getitem__(model)
        wanted = message.model_validate({"operations": [change]})
        answer = await self._scim.modify(model, id_, wanted, raise_scim_errors=False)
        if isinstance(answer, Error) and (change["op"] != "remove" or answer.status != GONE):
            raise _Told(answer)

    async def _list(self, model: type[Any], filter_: str) -> list[Any]:
        asked: Any = SearchRequest.model_validate({"filter": filter_})
        answer = await self._scim.query(model, asked, raise_scim_errors=False)
        if isinstance(answer, Error):
            raise _Told(answer)
        return list(getattr(answer, "resources", None) or ())
