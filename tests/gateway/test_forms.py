"""A section's form says what the section says: nothing is lost on the way there and back."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from starlette.datastructures import FormData, UploadFile

from deploy.story.clinic import CEDAR_SOUND, read_directory
from services.gateway.console.forms import (
    BLANK_ROWS,
    OPTIONS,
    fields_of,
    identified,
    lead,
    read,
    started,
)
from services.gateway.console.organization import FORMS, choices_in
from services.gateway.console.view import make_environment
from shared.contracts.directory import DIRECTORY_MODELS, Directory, Function, GuideEntry
from shared.contracts.review_policy import ReviewPolicy

pytestmark = pytest.mark.fast

Json = dict[str, Any]
NOT_ASKED = {"portal": {"steps", "chores", "screens", "rules"}}
NOW = datetime(2026, 3, 2, 17, tzinfo=UTC)


class _Sent(HTMLParser):
    """What a browser would send of a page's first form, left as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: list[tuple[str, str | UploadFile]] = []
        self._area: str | None = None
        self._select: str | None = None
        self._first = True

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        match tag:
            case "input" if said.get("type") != "checkbox" or "checked" in said:
                self.fields.append((said["name"] or "", said.get("value") or ""))
            case "textarea":
                self._area = said["name"]
            case "select":
                self._select, self._first = said["name"], True
            case "option" if self._select and (self._first or "selected" in said):
                if not self._first:
                    self.fields.pop()
                self.fields.append((self._select, said["value"] or ""))
                self._first = False

    def handle_data(self, data: str) -> None:
        if self._area:
            self.fields.append((self._area, data.removeprefix("\n").replace("\n", "\r\n")))
            self._area = None


ENVIRONMENT = make_environment()


@cache
def example() -> Directory:
    return read_directory(CEDAR_SOUND / "directory.yaml", NOW.date())


def sections() -> Iterator[tuple[str, Json]]:
    """Every section of the example that has a form, and what the example leaves to defaults."""
    for kind, _, section in example().objects():
        if kind in FORMS:
            yield kind, section.model_dump(mode="json")
    yield "review_policy", ReviewPolicy().model_dump(mode="json")
    entry = GuideEntry(id="era", work="ERA", words=("835",), functions=(Function.REMITTANCE,))
    yield "guide", entry.model_dump(mode="json")


def form_of(kind: str, value: Json, known: Json | None) -> FormData:
    """What a browser sends of a section's form as it was shown."""
    directory = example().model_dump(mode="json")
    page = ENVIRONMENT.get_template("entry_form.html")
    person = SimpleNamespace(csrf="token", session=SimpleNamespace(name="Administrator"))
    html = page.render(
        kind=kind,
        called=kind,
        about=lead(DIRECTORY_MODELS[kind]),
        fields=fields_of(DIRECTORY_MODELS[kind]),
        value=value,
        known=known,
        single=True,
        shown_at=("/directory", "Portals"),
        found={"directory": directory, "names": {}, "version": 1},
        choices=choices_in(directory),
        started=started,
        BLANK_ROWS=BLANK_ROWS,
        OPTIONS=OPTIONS,
        problem=None,
        visitor=person,
        myself="Administrator",
        zone=ZoneInfo("UTC"),
        now=NOW,
        here="/directory",
        query={},
        asked_for=True,
        navigation=[],
        may=lambda *_: True,
    )
    sent = _Sent()
    sent.feed(html[html.index('<form class="sheet"') :])
    return FormData(sent.fields)


def test_a_form_that_nobody_touched_says_what_is_in_force() -> None:
    kinds = set()
    for kind, value in sections():
        said = read(fields_of(DIRECTORY_MODELS[kind]), form_of(kind, value, value))
        assert value | said == value, kind
        assert set(value) - set(said) <= NOT_ASKED.get(kind, set()), kind
        kinds.add(kind)
    assert kinds == set(FORMS)


def test_no_field_is_called_what_a_form_says_of_itself() -> None:
    for kind, model in FORMS.items():
        assert {"csrf", "made_from", "go"}.isdisjoint(each.name for each in fields_of(model)), kind


def test_an_empty_form_leaves_out_every_row_that_nobody_filled_in() -> None:
    for kind, model in FORMS.items():
        fields = fields_of(model)
        begun = started(fields)
        said = read(fields, form_of(kind, begun, None))
        for field in fields:
            if field.control == "rows":
                assert len(said[field.name]) == len(begun[field.name]), (kind, field.name)


def test_an_id_is_made_from_the_name_and_never_given_twice() -> None:
    fields = fields_of(DIRECTORY_MODELS["carrier"])
    made = [
        identified(fields, {"name": "Kitsap & Co."}, taken)["id"] for taken in ((), ("kitsap-co",))
    ]
    assert made == ["kitsap-co", "kitsap-co-2"]
    assert identified(fields, {"id": "regence", "name": "Regence"}, ())["id"] == "regence"


def test_a_source_is_called_what_it_calls_itself() -> None:
    fields = fields_of(DIRECTORY_MODELS["source"])
    assert (fields[0].name, fields[0].control) == ("id", "text")
    assert identified(fields, {"id": "", "name": "Agency"}, ())["id"] == ""


def test_what_is_no_number_stays_as_typed_for_the_rules_to_name() -> None:
    fields = fields_of(DIRECTORY_MODELS["organization"])
    said = read(fields, FormData([("roster_interval_days", "often"), ("name", " Cedar ")]))
    assert (said["roster_interval_days"], said["name"], said["clearinghouse"]) == (
        "often",
        "Cedar",
        None,
    )
