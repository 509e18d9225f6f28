"""Files that may have been damaged: read as they were written, or refused by name."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from aeflow_utils.errors import UserError


@contextmanager
def reading(file: Path | str, remedy: str) -> Iterator[None]:
    """What fails inside is a UserError that names the file and says what to do."""
    try:
        yield
    except Exception as error:  # damaged files make readers fail in many kinds
        told = str(error) or type(error).__name__
        raise UserError(f"{file} cannot be read ({told}): {remedy}") from None


def read_table(file: Path, remedy: str = "restore it", **options: object) -> pd.DataFrame:
    """A CSV file by pandas.

    Raises:
        UserError: it is not there, damaged, or no table; names it.
    """
    with reading(file, remedy):
        return pd.read_csv(file, **options)


def read_listing(file: Path) -> pd.DataFrame:
    """A CSV file that a person wrote, as text: no cell is guessed, none moves to another column.

    Raises:
        UserError: it is not there or no UTF-8, a line has more or fewer cells than the first, or
            two columns have one name; names it.
    """
    with reading(file, "write a comma-separated table in UTF-8"):
        with file.open(encoding="utf-8-sig", newline="") as content:
            lines = csv.reader(content, strict=True)
            names = [name.strip() for name in next(lines, [])]
            rows = []
            for cells in filter(None, lines):
                if len(cells) != len(names):
                    expected = f"{len(cells)} cells, not {len(names)}"
                    raise ValueError(f"line {lines.line_num} has {expected}")
                if "\r" in "".join(cells):
                    raise ValueError(f"line {lines.line_num} has a carriage return in a cell")
                rows.append(cells)
        if len(set(names)) < len(names):
            raise ValueError("two columns have one name")
        return pd.DataFrame(rows, columns=names, dtype=str)
