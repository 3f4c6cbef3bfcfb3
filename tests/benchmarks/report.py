"""Figures as they are printed and as `build/bench.json` holds them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

BENCH_JSON = Path("build/bench.json")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. `against` names what `ratio` compares it with; both may be absent."""

    name: str
    value: float
    unit: str
    against: str | None = None
    ratio: float | None = None
    runs: int = 1


def publish(figures: list[Figure]) -> None:
    """Print one table and write the JSON file."""
    BENCH_JSON.parent.mkdir(exist_ok=True)
    BENCH_JSON.write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")
    table = Table(title="Benchmarks: compare ratios, not absolute figures")
    for heading in ("figure", "value", "unit", "against", "ratio", "runs"):
        table.add_column(heading, justify="right" if heading in ("value", "ratio") else "left")
    for figure in figures:
        table.add_row(
            figure.name,
            f"{figure.value:,.1f}",
            figure.unit,
            figure.against or "",
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            str(figure.runs),
        )
    Console(width=140).print(table)
    print(f"Written to {BENCH_JSON}.")
