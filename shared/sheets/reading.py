"""A file's table, whatever kind of file it is."""

import re

from shared.sheets.mail import read_mail, table_of_html
from shared.sheets.table import MAX_FILE_BYTES, Table, UnreadableSheet, arrange
from shared.sheets.text import decode, read_text
from shared.sheets.workbook import read_workbook

ZIP = b"PK\x03\x04"
OTHERS = {
    b"\xd0\xcf\x11\xe0": "the old Excel format (.xls)",
    b"%PDF": "a PDF",
    b"{": "JSON",
    b"[": "JSON",
    b"<?xml": "XML",
    b"\x1f\x8b": "a compressed file (.gz)",
}
"""How files begin that hold no table that can be read."""
_MAIL = re.compile(rb"(received|from|return-path|mime-version|date|subject|delivered-to):", re.I)


def read_table(name: str, content: bytes) -> Table:
    """The table in a file: CSV of any dialect, XLSX, a mail (.eml), HTML, or pasted text.

    Raises:
        UnreadableSheet: it cannot be read; the message names line and column where it can.
    """
    notes: list[str] = []
    if not content.strip():
        raise UnreadableSheet("The file is empty.")
    if len(content) > MAX_FILE_BYTES:
        raise UnreadableSheet(f"The file is larger than {MAX_FILE_BYTES // 1024 // 1024} MB.")
    if content.startswith(ZIP):
        return read_workbook(content, notes)
    begins = content.lstrip()
    for start, kind in OTHERS.items():
        if begins.startswith(start):
            raise UnreadableSheet(f"This is {kind}. Save or export it as .xlsx or CSV UTF-8.")
    if name.casefold().endswith(".eml") or _MAIL.match(content):
        return read_mail(content, notes)
    text = decode(content, notes)
    if re.search(r"<table[\s>]", text[:100_000], re.I):
        return arrange(table_of_html(text), notes)
    return read_text(text, notes)
