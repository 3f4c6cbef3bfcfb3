"""Tables as files: what a page shows, for a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi.responses import Response

from shared.sheets.cells import quoted


def csv_file(name: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Response:
    """Rows as CSV in UTF-8 with a mark, no cell of which a spreadsheet would compute."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([[quoted(_cell(row.get(column))) for column in columns] for row in rows])
    headers = {
        "Content-Disposition": f'attachment; filename="{name}.csv"',
        "Cache-Control": "no-store",
    }
    return Response("\ufeff" + text.getvalue(), media_type="text/csv", headers=headers)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "; ".join(_cell(each) for each in value)
    return str(value)
