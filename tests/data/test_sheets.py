"""Spreadsheets as text cells, and what is said of those that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.photographs import write_sheet
from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.reading import read_table


def test_cells_are_text_and_headings_tidy(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    write_sheet(path, [{"ID ": 7, "x": 1.5, "word": "NA"}, {"ID ": 8, "word": None}])
    table = read_table(path, ["ID", "x"])
    assert table.to_dict("records") == [
        {"ID": "7", "x": "1.5", "word": "NA"},
        {"ID": "8", "x": "", "word": ""},
    ]


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with pytest.raises(DatasetNotFoundError, match=r"spreadsheet .*a\.xlsx"):
        read_table(path)
    write_sheet(path, [{"ID": 7}])
    with pytest.raises(DatasetNotFoundError, match="columns y"):
        read_table(path, ["ID", "y"])
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ConfigError, match="download the file again"):
        read_table(path)
    path.write_text("a page that says 404")
    with pytest.raises(ConfigError, match="download the file again"):
        read_table(path)
