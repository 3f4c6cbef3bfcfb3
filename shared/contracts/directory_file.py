"""A directory as one YAML (or JSON) file: reading it with errors that name the line, writing it.

What a portal leaves unsaid is filled in from the shipped catalogue (`shared.contracts.catalogue`).
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shared.contracts import catalogue
from shared.contracts.consistency import INCONSISTENT
from shared.contracts.directory import ORGANIZATION_PATTERN, STATE_PATTERN, Directory
from shared.contracts.objects import ID_PATTERN

MAX_FILE_CHARACTERS = 8_000_000
MAX_NODES = 2_000_000
"""Values a file may come to once its anchors are followed; a few lines can mean billions."""

MAX_PROBLEMS = 100

Json = dict[str, Any]
At = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class FileProblem:
    """What is wrong in a file: the line and column (from 1), the place within, and in words."""

    line: int | None
    column: int | None
    at: str
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        return f"{where}{self.at} {self.message}".replace("  ", " ").strip()


class DirectoryFileError(ValueError):
    """A file is no directory; `problems` has everything that was found, in the file's order."""

    def __init__(self, problems: Iterable[FileProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems[:3]))


def read_directory_file(text: str) -> Directory:
    """The directory in a file.

    Raises:
        DirectoryFileError: it is not YAML, or something in it is wrong.
    """
    root, document = _parse(text)
    return _validated(document, lambda at: _position(root, at))


def read_directory_document(document: Any, *, whole: bool = False) -> Directory:
    """The directory in a parsed document; problems then have no line.

    Args:
        whole: the document's portals are filled in already, and stay as they are.

    Raises:
        DirectoryFileError: something in it is wrong.
    """
    return _validated(document, lambda at: None, whole=whole)


def write_directory_file(directory: Directory) -> str:
    """A file that says the same: without defaults, and without what the catalogue says."""
    document = directory.model_dump(mode="json", exclude_defaults=True)
    ids = own_ids(document["portals"])
    document["portals"] = [catalogue.leave_out(portal, ids) for portal in directory.portals]
    return yaml.dump(
        document, Dumper=_Readable, sort_keys=False, allow_unicode=True, width=110, indent=2
    )


def own_ids(portals: Iterable[Any]) -> dict[str, str]:
    """A directory's own ids of portals, by the catalogue entry they name."""
    return {
        portal["catalogue"]: portal["id"]
        for portal in portals
        if isinstance(portal, dict)
        and isinstance(portal.get("catalogue"), str)
        and isinstance(portal.get("id"), str)
    }


# -- reading


def _parse(text: str) -> tuple[yaml.Node, Any]:
    if len(text) > MAX_FILE_CHARACTERS:
        said = f"The file is longer than {MAX_FILE_CHARACTERS} characters."
        raise DirectoryFileError([FileProblem(None, None, "", said)])
    try:
        loader = _PlainDates(text)
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        said = f"holds a character that YAML does not allow (U+{error.character:04X})"
        raise DirectoryFileError([FileProblem(line, None, "", said)]) from error
    try:
        root = loader.get_single_node()
        if root is None:
            raise DirectoryFileError([FileProblem(None, None, "", "The file is empty.")])
        _measure(root)
        return root, loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = f"is not YAML: {error.problem or error.context}"
        found = FileProblem(None, None, "", said)
        if mark is not None:
            found = FileProblem(mark.line + 1, mark.column + 1, "", said)
        raise DirectoryFileError([found]) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, DirectoryFileError):
            raise
        said = f"is not YAML: {type(error).__name__}"
        raise DirectoryFileError([FileProblem(None, None, "", said)]) from error
    finally:
        loader.dispose()


def _measure(root: yaml.Node) -> None:
    """Refuse a document that grows beyond measure, or contains itself, when anchors are followed.

    Raises:
        DirectoryFileError: it does.
    """
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in open_nodes:
            raise DirectoryFileError([_problem(node, "An anchor contains itself.")])
        open_nodes.add(id(node))
        total = 1
        if isinstance(node, yaml.SequenceNode):
            total += sum(size(child) for child in node.value)
        elif isinstance(node, yaml.MappingNode):
            total += sum(size(key) + size(value) for key, value in node.value)
        open_nodes.discard(id(node))
        sizes[id(node)] = total
        return total

    if size(root) > MAX_NODES:
        raise DirectoryFileError([_problem(root, f"The file means more than {MAX_NODES} values.")])


def _problem(node: yaml.Node, message: str) -> FileProblem:
    return FileProblem(node.start_mark.line + 1, node.start_mark.column + 1, "", message)


def _validated(document: Any, position: Any, *, whole: bool = False) -> Directory:
    problems: list[tuple[At, str]] = []
    filled = document if whole else _filled_in(document, problems)
    try:
        directory = Directory.model_validate(filled)
    except ValidationError as error:
        problems.extend(_told(error))
    if problems:
        found = [_located(at, message, document, position) for at, message in problems]
        found.sort(key=lambda problem: (problem.line is None, problem.line or 0))
        raise DirectoryFileError(dict.fromkeys(found[:MAX_PROBLEMS]))
    return directory


def _filled_in(document: Any, problems: list[tuple[At, str]]) -> Any:
    """The document with its portals filled in from the catalogue."""
    if not isinstance(document, dict) or not isinstance(document.get("portals"), list):
        return document
    ids = own_ids(document["portals"])
    portals = []
    for number, portal in enumerate(document["portals"]):
        if isinstance(portal, dict):
            try:
                portal = catalogue.fill_in(portal, ids)
            except catalogue.UnknownEntry as error:
                problems.append((("portals", number, "catalogue"), str(error)))
                continue
        portals.append(portal)
    return {**document, "portals": portals}


def _told(error: ValidationError) -> Iterator[tuple[At, str]]:
    found = error.errors(include_url=False)
    places = {tuple(each["loc"]) for each in found}
    for each in found:
        at = tuple(each["loc"])
        if each["type"] == INCONSISTENT:
            for problem in each["ctx"]["problems"]:
                yield problem.at, problem.message
        elif each["type"] != "too_short" or not any(
            place[: len(at)] == at and len(place) > len(at) for place in places
        ):
            # A list that lacks what is wrong in it is not told to be empty besides.
            yield at, _in_words(each)


_PLAIN: Mapping[str, str] = {
    "missing": "is missing",
    "extra_forbidden": "is not known here; is it a typing error?",
    "too_short": "needs at least one",
    "string_type": "is read as something else than text: put it in quotes",
    "string_too_short": "is empty",
    "string_too_long": "is longer than {max_length} characters",
    "int_type": "is no whole number",
    "int_parsing": "is no whole number",
    "int_from_float": "is no whole number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "tuple_type": "is no list: begin each of them with a dash",
    "model_type": "is no group of names with their values",
    "model_attributes_type": "is no group of names with their values",
    **dict.fromkeys(
        ("date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact"),
        "is no day, which is written like 2026-01-31",
    ),
}
_FORMS: Mapping[str, str] = {
    ID_PATTERN: "is no id: small letters and digits, with . _ - between them, 63 at most",
    ORGANIZATION_PATTERN: "is no id: small letters, digits and hyphens, 63 at most",
    STATE_PATTERN: "is no state: write it in two capital letters, like WA",
}


def _in_words(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "string_pattern_mismatch" if context["pattern"] in _FORMS:
            return _FORMS[context["pattern"]]
        case "literal_error" | "enum":
            return _none_of(str(error["input"]), re.findall(r"'([^']*)'", context["expected"]))
        case plain if plain in _PLAIN:
            return _PLAIN[plain].format(**context)
    return error["msg"].removeprefix("Value error, ")


def _none_of(said: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(said, known, 1)
    meant = f"; is {near[0]} meant?" if near else ""
    return f"is none of {', '.join(known)}{meant}"


def _located(at: At, message: str, document: Any, position: Any) -> FileProblem:
    place = _shortened(at, document)
    mark = position(place)
    line, column = mark if mark is not None else (None, None)
    return FileProblem(line, column, _spoken(at, document), message)


def _shortened(at: At, document: Any) -> At:
    """The part of a place that the document has, so that its line can be named."""
    taken: list[str | int] = []
    here = document
    for part in at:
        in_list = isinstance(here, list) and isinstance(part, int) and part < len(here)
        if not in_list and not (isinstance(here, dict) and part in here):
            break
        here = here[part]
        taken.append(part)
    return tuple(taken)


def _spoken(at: At, document: Any) -> str:
    """A place in words: `portals noridian, rules 2, value`."""
    said: list[str] = []
    here = document
    for part in at:
        if isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
            name = here.get("id") if isinstance(here, dict) else None
            said.append(f"{said.pop() if said else ''} {name or part + 1}".strip())
            continue
        here = here.get(part) if isinstance(here, dict) else None
        said.append(str(part))
    return ", ".join(said) + (":" if said else "")


def _position(root: yaml.Node, at: At) -> tuple[int, int]:
    node = root
    mark = root.start_mark
    for part in at:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            mark = node.start_mark
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    node, mark = value, key.start_mark
                    break
    return mark.line + 1, mark.column + 1


class _PlainDates(yaml.SafeLoader):
    """Leaves dates as the text they are written as, and refuses a key that is given twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are names, all different."""
        if isinstance(node, yaml.MappingNode):
            seen: set[Any] = set()
            for key, _ in node.value:
                if key.tag == "tag:yaml.org,2002:merge":
                    continue
                if not isinstance(key, yaml.ScalarNode):
                    raise yaml.constructor.ConstructorError(
                        None, None, "a name is expected before the colon", key.start_mark
                    )
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value!r} is given twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_PlainDates.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


# -- writing


class _Readable(yaml.SafeDumper):
    """Writes lists of plain values, and small mappings of them, on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        """Everything is written out where it belongs."""
        return True


def _represent(dumper: yaml.SafeDumper, data: Any) -> yaml.Node:
    members = data if isinstance(data, list) else list(data.values())
    plain = all(isinstance(member, str | int | float | bool) for member in members)
    short = sum(len(str(member)) + 4 for member in members) < 70
    if isinstance(data, list):
        return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=plain and short)
    return dumper.represent_mapping(
        "tag:yaml.org,2002:map", data.items(), flow_style=plain and short and len(data) > 1
    )


_Readable.add_representer(list, _represent)
_Readable.add_representer(dict, _represent)
