"""How every command takes its options and prints its answers."""

import json
import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)")
GAP = 2
"""Blanks between columns."""


def at_this_clock(said: str) -> str:
    """The text with its instants (RFC 3339, UTC) to the minute, in the zone of this machine."""

    def local(found: re.Match[str]) -> str:
        return f"{datetime.fromisoformat(found[0]).astimezone():%Y-%m-%d %H:%M %Z}"

    return INSTANT.sub(local, said)


class ForPeople(Console):
    """Prints text as it is, but for instants, which people read by the clock on their wall."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, soft_wrap=True)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print sentences and tables."""
        said = (at_this_clock(each) if isinstance(each, str) else each for each in objects)
        super().print(*said, **options)


out = ForPeople()
err = ForPeople(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="How many at most.")]


def read_day(said: str) -> date:
    """A day as it is typed.

    Raises:
        BadParameter: it is none.
    """
    try:
        return date.fromisoformat(said)
    except ValueError as error:
        raise typer.BadParameter(f"{said!r} is no day; write it like 2026-01-31.") from error


def progress_bar() -> Progress:
    """A progress bar on a terminal; nothing elsewhere."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


class Rows:
    """A plain table whose words stay whole, so that an id can be copied.

    Where the terminal is too narrow for that, each row is a block with a line per column. A file or
    another program gets a line per row, however long.
    """

    def __init__(self, *columns: str) -> None:
        self._columns = columns
        self._rows: list[list[Text]] = []

    def add_row(self, *cells: str) -> None:
        """Add what each column says."""
        self._rows.append([Text(at_this_clock(cell)) for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, or its blocks; without the columns that no row says anything in."""
        columns = [
            (Text(name, style="bold"), *cells)
            for name, *cells in zip(self._columns, *self._rows, strict=True)
            if any(cells)
        ]
        measured = [
            [cell.__rich_measure__(console, options) for cell in cells] for cells in columns
        ]
        whole = [max(each.maximum for each in cells) for cells in measured]
        words = [max(each.minimum for each in cells) for cells in measured]
        room = options.max_width - GAP * (len(columns) - 1)
        if not console.is_terminal:
            yield _table(columns, whole)
        elif sum(words) <= room:
            yield _table(columns, shared_out(words, whole, room))
        else:
            yield from _blocks(columns)


def _table(columns: Sequence[Sequence[Text]], widths: Sequence[int]) -> Table:
    table = Table.grid(padding=(0, GAP, 0, 0))
    table.width = sum(widths) + GAP * (len(widths) - 1)
    for width in widths:
        table.add_column(width=width)
    for cells in zip(*columns, strict=True):
        table.add_row(*cells)
    return table


def _blocks(columns: Sequence[Sequence[Text]]) -> RenderResult:
    names, *rows = zip(*columns, strict=True)
    for cells in rows:
        block = Table.grid(padding=(0, GAP, 0, 0))
        block.add_column(no_wrap=True)
        block.add_column(overflow="fold")
        for name, cell in zip(names, cells, strict=True):
            if cell:
                block.add_row(name, cell)
        yield block
        yield Text()


def shared_out(least: Sequence[int], most: Sequence[int], room: int) -> list[int]:
    """Widths from `least` to `most` that fill `room` if they can; who lacks little gets it first.

    The sum of `least` must not be more than `room`.
    """
    widths = list(least)
    spare = room - sum(least)
    by_need = sorted(range(len(widths)), key=lambda number: most[number] - least[number])
    for place, number in enumerate(by_need):
        given = min(most[number] - least[number], spare // (len(widths) - place))
        widths[number] += given
        spare -= given
    return widths


def text(value: Any) -> str:
    """What a cell says; a dash for what is not known."""
    return "–" if value is None else str(value)


def print_json(document: Any) -> None:
    """A document for programs."""
    print(json.dumps(document, indent=2))


def print_answer(as_json: bool, document: Any, sentence: str) -> None:
    """The document for programs, or the sentence for people."""
    if as_json:
        print_json(document)
    else:
        out.print(sentence)


def group(text: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(help=text, no_args_is_help=True, pretty_exceptions_enable=False)
