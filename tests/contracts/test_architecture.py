"""ARCHITECTURE.md points at things that exist."""

import re

import pytest

from deploy.generate import ARCHITECTURE, ROOT

TEXT = ARCHITECTURE.read_text(encoding="utf-8")
PATHS = sorted(
    set(re.findall(r"`((?:services|shared|deploy|tests)(?:/[\w.-]+)+)`", TEXT))
    | set(re.findall(r"`(\w+\.(?:md|yml))`", TEXT))
)
TESTS = sorted(set(re.findall(r"`(test_\w+)`", TEXT)))
ROWS = re.findall(r"^\| [^|]+ \| ([^|]*`(?:services|shared)/[\w./-]+\.py`[^|]*) \|", TEXT, re.M)


def code() -> str:
    return "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")
    )


@pytest.mark.parametrize("path", PATHS)
def test_a_file_or_folder_that_is_named_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_test_that_is_named_exists() -> None:
    known = set(re.findall(r"def (test_\w+)\(", code()))
    assert set(TESTS) <= known, sorted(set(TESTS) - known)


@pytest.mark.parametrize("row", ROWS)
def test_what_a_row_names_is_in_one_of_its_files(row: str) -> None:
    names = [name for name in re.findall(r"`(\w+)`", row) if "/" not in name]
    files = re.findall(r"`((?:services|shared)/[\w./-]+\.py)`", row)
    text = "\n".join((ROOT / file).read_text(encoding="utf-8") for file in files)
    assert all(re.search(rf"\b{name}\b", text) for name in names), row
