"""Keeping the audit log for years, where it is installed: backups, pruning, new keys.

What cannot be undone is recorded first, under the name of whoever is signed in, and asks that they
signed in just now.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.client import Client, Exit, Failure
from services.cli.printing import AsJson, print_answer

Folder = Annotated[Path, typer.Argument(help="Where the copies are, in `log` and `keys`.")]


def backup(folder: Folder, as_json: AsJson = False) -> None:
    """Back up the audit log and its keys, without the master key. It may go on working."""
    _carry_out(
        as_json,
        ("log", ("backup-log", str(folder / "log"))),
        ("log", ("backup-keys", str(folder / "keys"))),
    )


def restore(
    folder: Folder,
    in_place_of: Annotated[
        str | None,
        typer.Option(
            help="Put this log, which is in the database, aside first. Its keys stay as they are:"
            " those of the backup may open what was erased since."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Restore the audit log into an empty database, and its keys if the store is empty.

    With --in-place-of the database need not be empty. Audit log, signer and projector must be
    stopped then.
    """
    named = () if in_place_of is None else ("--in-place-of", in_place_of)
    if in_place_of is not None:
        _announce("restore", in_place_of)
    steps = [("administrator", ("restore-log", str(folder / "log"), *named))]
    if (folder / "keys").exists() and in_place_of is None:
        steps.append(("log", ("restore-keys", str(folder / "keys"))))
    _carry_out(as_json, *steps)


def prune(as_json: AsJson = False) -> None:
    """Drop what need not be kept any longer, but for what is held."""
    _announce("prune")
    _carry_out(as_json, ("log", ("prune",)))


def rotate_master(
    new_key_file: Annotated[Path, typer.Argument(help="32 random bytes in base64.")],
    as_json: AsJson = False,
) -> None:
    """Wrap all keys by another master key. Audit log and projector must be stopped."""
    _announce("rotate_master")
    _carry_out(as_json, ("log", ("rotate-master", str(new_key_file))))


def rotate_signing(as_json: AsJson = False) -> None:
    """Sign with a new key, which the one before names. The signer must be stopped."""
    _announce("rotate_signing")
    _carry_out(as_json, ("signer", ("--rotate",)))


def succeed(
    origin: Annotated[str, typer.Argument(help="What the log that follows is called.")],
    as_json: AsJson = False,
) -> None:
    """After a restore that lost signed entries: freeze the log, and begin one that follows it."""
    _announce("succeed", origin)
    _carry_out(as_json, ("administrator", ("succeed", origin)))


def _announce(command: str, target: str = "") -> None:
    Client.open().post("gateway", "/ops/v1/maintenance", {"command": command, "target": target})


def _carry_out(as_json: bool, *steps: tuple[str, tuple[str, ...]]) -> None:
    try:
        from deploy import maintaining
        from deploy.errors import CannotStart
    except ModuleNotFoundError as error:
        raise Failure(Exit.NO, "Run this where Portalkeeper is installed.") from error
    processes: dict[str, Any] = {
        "log": maintaining.LOG,
        "signer": maintaining.SIGNER,
        "administrator": maintaining.ADMINISTRATOR,
    }
    said = []
    for process, arguments in steps:
        try:
            status, answer, complaint = maintaining.carry_out(processes[process], arguments)
        except CannotStart as error:
            raise Failure(Exit.NO, str(error)) from error
        if status:
            raise Failure(Exit.NO, complaint or answer)
        said.append(answer)
    print_answer(as_json, {"said": said}, "\n".join(said))
