"""Tables in mails: an attachment, a table in the body, or lines of text, forwarded or not."""

import email
import email.policy
import re
from email.message import EmailMessage
from html.parser import HTMLParser

from shared.sheets.table import Row, Table, UnreadableSheet, arrange
from shared.sheets.text import decode, read_text
from shared.sheets.workbook import read_workbook

TEXT_ENDINGS = (".csv", ".tsv", ".txt")
MIN_ROWS = 2
_QUOTED = re.compile(r"^(> ?)+", re.M)


def read_mail(content: bytes, notes: list[str]) -> Table:
    """The one table of a mail.

    Raises:
        UnreadableSheet: there is none, or more than one attachment could be meant.
    """
    message = email.message_from_bytes(content, policy=email.policy.default)
    attached, bodies = [], []
    for part in message.walk():
        if not isinstance(part, EmailMessage) or part.is_multipart():
            continue
        name = (part.get_filename() or "").casefold()
        if name.endswith((*TEXT_ENDINGS, ".xlsx")):
            attached.append((name, part))
        elif part.get_content_type() in ("text/html", "text/plain"):
            bodies.append(part)
    if len(attached) > 1:
        names = ", ".join(name for name, _ in attached)
        raise UnreadableSheet(f"The mail has several tables attached ({names}): save one, send it.")
    if message["date"]:
        notes = [*notes, f"The mail was sent {message['date']}."]
    if attached:
        name, part = attached[0]
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        notes = [*notes, f"The attachment {name} was read."]
        if name.endswith(".xlsx"):
            return read_workbook(payload, notes)
        return read_text(decode(payload, notes), notes)
    return _from_bodies(bodies, notes)


def _from_bodies(bodies: list[EmailMessage], notes: list[str]) -> Table:
    for part in sorted(bodies, key=lambda part: part.get_content_type() != "text/html"):
        text = part.get_content()
        if part.get_content_type() == "text/html":
            rows = table_of_html(text)
            if len(rows) >= MIN_ROWS:
                return arrange(rows, [*notes, "The table in the mail's body was read."])
        else:
            block = _longest_block(_QUOTED.sub("", text))
            if block:
                return read_text(block, [*notes, "The lines in the mail's body were read."])
    raise UnreadableSheet("The mail holds no attachment (.csv, .xlsx) and no table.")


def _longest_block(text: str) -> str:
    """The longest run of lines that have columns."""
    best: list[str] = []
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        if re.search(r"\S(\t|\s{2,}|\s*[|;,]\s*)\S", line):
            block.append(line)
            continue
        if len(block) > len(best):
            best = block
        block = []
    return "\n".join(best) if len(best) >= MIN_ROWS else ""


class _Tables(HTMLParser):
    """Collects the cells of every table, nested ones each for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self._open: list[list[list[str]]] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A table, row or cell begins."""
        if tag == "table":
            self._open.append([])
            self.tables.append(self._open[-1])
            self._in_cell = False
        elif tag == "tr" and self._open:
            self._open[-1].append([])
        elif tag in ("td", "th") and self._open:
            if not self._open[-1]:
                self._open[-1].append([])
            self._open[-1][-1].append("")
            self._in_cell = True
        elif tag == "br":
            self.handle_data(" ")

    def handle_endtag(self, tag: str) -> None:
        """A table or cell ends."""
        if tag == "table" and self._open:
            self._open.pop()
        elif tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        """Text, which counts within a cell."""
        if self._in_cell and self._open and self._open[-1] and self._open[-1][-1]:
            self._open[-1][-1][-1] += data


def table_of_html(text: str) -> list[Row]:
    """The rows of the table with most of them; `line` counts its rows."""
    parser = _Tables()
    parser.feed(text)
    parser.close()
    rows = max(parser.tables, key=len, default=[])
    return [
        Row(number, tuple(" ".join(cell.split()) for cell in cells))
        for number, cells in enumerate(rows, start=1)
        if cells
    ]
