from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vlp_zoo.evaluation.statistics.metrics import label_values, macro
from vlp_zoo.leaderboard.boards import Board, make_boards
from vlp_zoo.leaderboard.groups import group_tables
from vlp_zoo.leaderboard.page import page
from vlp_zoo.leaderboard.runs import read_runs


@pytest.fixture
def board(folder: Path, tmp_path: Path) -> Board:
    """The last board of the stubs, its cases with a sex, a text and a number."""
    (tmp_path / "predictions").mkdir()
    (tmp_path / "results.jsonl").write_bytes((folder / "results.jsonl").read_bytes())
    for path in (folder / "predictions").iterdir():
        table = pd.read_parquet(path)
        patients = [int(name.split("-p")[1]) for name in table["patient_id"]]
        # One case without a sex.
        sexes = [None, *("F" if p % 3 else "<M>" for p in patients[1:])]
        table["case sex"] = sexes
        table["case text"] = [f"text {i}" for i in range(len(table))]
        table["case rank"] = np.arange(len(table))
        table.to_parquet(tmp_path / "predictions" / path.name, index=False)
    return make_boards(read_runs([tmp_path]), replicates=20)[3]


def test_words_are_groups_and_texts_and_numbers_are_not(board: Board) -> None:
    (table,) = group_tables(board, minimum=5)
    assert (table.column, table.groups) == ("sex", ("<M>", "F"))
    assert [name for name, _ in table.rows] == [entry.name for entry in board.entries]
    cases = board.encoders[1].runs[0].cases()
    assert cases is not None
    member = np.array([sex == "F" for sex in cases.columns["sex"]])
    measure = partial(label_values, "macro_auroc")
    expected = macro(measure(cases.labels[member], cases.scores[member]))
    found = table.rows[1][1].groups["F"]
    assert found.value == pytest.approx(expected[0])
    assert found.low <= found.value <= found.high


def test_small_groups_are_listed_and_not_measured(board: Board) -> None:
    (table,) = group_tables(board, minimum=15)
    assert table.groups == ("F",)
    assert "<M>" in table.rows[0][1].left_out
    assert not group_tables(board, minimum=1000)


def test_the_page_shows_groups_as_text(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "vlp_zoo.leaderboard.page.group_tables", partial(group_tables, minimum=5)
    )
    html = page([replace(board, replicates=0)])
    assert "By sex" in html
    assert "&lt;M&gt;" in html
    assert "<M>" not in html
    # Without replicates nothing is drawn, and with them what chance gives is shown.
    gaps = re.compile(
        r'<td class="num" data-v="([\d.]*)">\1</td>'
        r'<td class="num" data-v="([\d.]*)">\2</td></tr>'
    )
    assert {each for each, _ in gaps.findall(html)} == {""}
    (table,) = group_tables(board, minimum=5)
    shown = gaps.findall(page([board]))
    assert [float(chance) for chance, _ in shown] == [
        pytest.approx(slices.chance, abs=6e-4) for _, slices in table.rows
    ]
    assert all(0 < float(p) <= 1 for _, p in shown)
