"""How every command takes its options and prints its answers."""

import json
from datetime import date
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

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


def table(*columns: str) -> Table:
    """A plain table with these columns."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        made.add_column(name, overflow="fold")
    return made


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
        out.print(sentence, markup=False)


def group(text: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(help=text, no_args_is_help=True, pretty_exceptions_enable=False)
