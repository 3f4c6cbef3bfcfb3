"""How values are written on pages: instants in the organization's zone, numbers, spans of time."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from services.gateway.console.timeline import HOLDERS_ONLY, OPERATION_TITLES, instant
from services.gateway.handlers.sign_in import INSTALLER

FOLDER = Path(__file__).parent

STATE_WORDS = {
    "effective": ("●", "effective", "The portal holds it, as far as evidence tells"),
    "requested": ("◔", "requested", "Asked for, not yet confirmed"),
    "exposed": ("▲", "exposed", "Must be gone and is not yet confirmed gone"),
    "held": ("‖", "held", "A named rule holds it back"),
    "suspended": ("○", "suspended", "Confirmed suspended"),
    "desired": ("+", "desired", "Policy says so"),
    "login_only": ("◦", "login only", "A login that can do nothing: no function is left"),
    "none": ("·", "nothing", "Nothing there and nothing asked for"),
}

GRADES = {
    "roster": "on the portal's own list",
    "api": "by the portal's own answer",
    "person": "on a person's word",
    "assumed": "assumed, not seen yet",
}
"""How a fact about a portal is known."""

SPELLED = {
    "mac": "Medicare contractor",
    "mfa": "MFA",
    "npi": "NPI",
    "ptans": "PTANs",
    "tin": "tax id",
    "tins": "tax ids",
    "w9": "W-9",
}
"""Parts of identifiers that are no words."""

AUTHORITIES = {
    "policy": "policy {reference}, {by}",
    "mover_grace": "grace after a move, policy {reference}, {by}",
    "exception": "exception, approved by {by}",
    "break_glass": "break-glass by {by}",
    "brake_rejection": "a removal that {by} turned down",
    "adoption": "taken over from a sheet by {by}",
    "roster": "found on the portal's own list by {by}",
}
"""Who answers for an entitlement, by the kind of what gave it."""


@pass_context
def when(context: Context, value: str | datetime | None, seconds: bool = False) -> Markup:
    """An instant in the organization's zone, with UTC in the title."""
    at = instant(value) if isinstance(value, str) or value is None else value.astimezone(UTC)
    if at is None:
        return Markup('<span class="faint">–</span>')
    zone: ZoneInfo = context["zone"]
    local, today = at.astimezone(zone), context["now"].astimezone(zone)
    form = "%H:%M:%S" if seconds else "%H:%M"
    if local.year != today.year:
        text = local.strftime(f"%-d %b %Y {form}")
    else:
        text = local.strftime(f"%a %-d %b {form}")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.isoformat(), at.strftime("%Y-%m-%d %H:%M:%S UTC"), text
    )


@pass_context
def since(context: Context, value: str | None) -> Markup:
    """How long ago an instant was, or how far off it is, in its two largest units."""
    at = instant(value)
    if at is None:
        return Markup("")
    return Markup('<span title="{}">{}</span>').format(
        at.strftime("%Y-%m-%d %H:%M:%S UTC"), span((context["now"] - at).total_seconds())
    )


def span(seconds: float | None) -> str:
    """A length of time in its two largest units: `63 h`, `2 d 4 h`, `12 min`, `0.8 s`."""
    if seconds is None:
        return "–"
    left = abs(timedelta(seconds=seconds))
    if left < timedelta(seconds=0.1):
        return "under 0.1 s"
    if left < timedelta(seconds=10):
        return f"{left.total_seconds():.1f} s"
    if left < timedelta(minutes=1):
        return f"{left.total_seconds():.0f} s"
    minutes = int(left.total_seconds() // 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 72 * 60:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    hours = minutes // 60
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"


def day(value: str | None) -> str:
    """A calendar day in the organization's zone, which it carries already."""
    return date.fromisoformat(value).strftime("%-d %b %Y") if value else "–"


def number(value: float | None) -> str:
    """A count with thousands apart."""
    return "–" if value is None else f"{value:,.0f}"


def upto(value: int, bound: int) -> str:
    """A count that stops beyond `bound`."""
    return number(value) if value <= bound else f"over {number(bound)}"


def words(value: str) -> str:
    """An identifier as words, and its abbreviations as people know them."""
    return " ".join(SPELLED.get(word, word) for word in value.replace("_", " ").split(" "))


def called(values: Iterable[str], names: Mapping[str, str]) -> str:
    """Ids by their names, as far as these are known."""
    return ", ".join(names.get(value, value) for value in values)


@pass_context
def authority(context: Context, said: Mapping[str, str]) -> str:
    """Who answers for an entitlement, in words; ids that tell a person nothing are left out."""
    form = AUTHORITIES.get(said["kind"], words(said["kind"]) + ", {by}")
    return form.format(reference=said["reference"], by=person(context, said["by"]))


def cause(cause_id: str) -> str:
    """What is behind removals under the brake, in words."""
    kind, _, rest = cause_id.partition("-")
    if kind == "directory":
        return f"Directory, version {rest}"
    if kind == "campaign":
        return f"Unanswered in a review campaign until {day(rest[-10:])}"
    return words(cause_id)


@pass_context
def person(context: Context, worker: str) -> str:
    """Somebody by name, as far as it is known here; services do things of their own accord."""
    if worker.startswith("/portalkeeper/"):
        return "Portalkeeper"
    if worker == INSTALLER:
        return "the installer"
    name: str = context["names"]["person"].get(worker, worker)
    return name


def sentence(text: str) -> str:
    """Words as a sentence of their own."""
    return f"{text[:1].upper()}{text[1:]}."


def path(value: str) -> str:
    """An id as one segment of a link."""
    return quote(value, safe="")


def with_query(base: str, **parameters: Any) -> str:
    """A link with the parameters that have a value."""
    query = urlencode({name: value for name, value in parameters.items() if value})
    return f"{base}?{query}" if query else base


def make_environment() -> Environment:
    """Templates that escape everything and fail on a name that does not exist."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=-1,
    )
    environment.globals.update(
        when=when,
        since=since,
        with_query=with_query,
        STATE_WORDS=STATE_WORDS,
        GRADES=GRADES,
        HOLDERS_ONLY=HOLDERS_ONLY,
        OPERATION_TITLES=OPERATION_TITLES,
    )
    environment.filters.update(
        cause=cause,
        person=person,
        authority=authority,
        day=day,
        called=called,
        number=number,
        upto=upto,
        words=words,
        path=path,
        sentence=sentence,
        span=span,
    )
    # They change with the product only: no visitor waits for one to be compiled.
    for name in environment.list_templates():
        environment.get_template(name)
    return environment
