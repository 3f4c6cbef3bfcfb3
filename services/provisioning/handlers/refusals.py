"""Refusals that several commands and questions share."""

from difflib import get_close_matches

from services.provisioning.rules.desired.directory import CompiledDirectory
from shared.errors import Problem


def no_such_portal(compiled: CompiledDirectory | None, portal: str) -> Problem:
    """That the directory lacks a portal, and what it may be called there."""
    known = {} if compiled is None else compiled.portals
    names = {each.name.casefold(): id_ for id_, each in known.items()}
    near = get_close_matches(portal.casefold(), [*known, *names], 3)
    meant = sorted({names.get(each, each) for each in near}) or sorted(known)
    hint = f" Its portals are called: {', '.join(meant)}."
    if near:
        hint = f" Did you mean {' or '.join(meant)}?"
    return Problem(404, "no_such_portal", f"The directory has no portal {portal}.{hint}")
