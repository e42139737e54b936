"""Where it was learnt against where it is tested, from results of the real suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.evaluation.stubs import StubEncoder, block_task
from vlp_zoo.bench.suite import candidates_of, evaluate_task
from vlp_zoo.evaluation.classification.linear_probe import LinearProbe
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.results import ResultStore
from vlp_zoo.evaluation.tasks import Task, crossed
from vlp_zoo.leaderboard.boards import Board, make_boards
from vlp_zoo.leaderboard.page import page
from vlp_zoo.leaderboard.runs import read_runs
from vlp_zoo.leaderboard.text import markdown, spelt
from vlp_zoo.leaderboard.transfer import transfers


def boards_of(folder: Path, tasks: Sequence[Task]) -> list[Board]:
    how = Extraction(progress=False, device="cpu", cache=FeatureCache(None))
    candidates = candidates_of(
        ["wide"], how, load=lambda spec: StubEncoder(32), baselines=False
    )
    for task in tasks:
        probe = LinearProbe(c_grid=(1.0,))
        evaluate_task(
            *(candidates, task, ResultStore(folder), how),
            protocols=[probe],
            replicates=20,
        )
    return make_boards(read_runs([folder]))


@pytest.fixture
def sites() -> tuple[Task, Task]:
    here, there = block_task(60), block_task(80, seed=5)
    return replace(here, name="here"), replace(there, name="there")


def test_each_cell_is_the_number_of_its_board(
    tmp_path: Path, sites: tuple[Task, Task]
) -> None:
    here, there = sites
    tasks = [here, there, crossed(here, there), crossed(there, here)]
    boards = boards_of(tmp_path, tasks)
    (found,) = transfers(boards)
    assert (found.encoder, found.learnt, found.tested) == (
        "wide",
        ("here", "there"),
        ("here", "there"),
    )
    values = {b.shared.task: b.encoders[0].scores[b.headline].value for b in boards}
    assert {pair: cell.value for pair, cell in found.cells.items()} == {
        ("here", "here"): values["here"],
        ("there", "there"): values["there"],
        ("here", "there"): values["here->there"],
        ("there", "here"): values["there->here"],
    }
    assert not found.other
    text = markdown(boards)
    assert "## Learnt here, tested there: wide, vlp-linear, 100 % of labels" in text
    assert "| learnt on | here | there |" in text
    # The page shows the same numbers as the text.
    shown = page(boards).partition('<section id="transfers">')[2]
    for (learnt, _), cell in found.cells.items():
        assert f'data-v="{learnt}"' in shown
        assert f"{spelt(cell)}</td>" in shown


def test_a_cell_of_other_labels_is_marked_and_one_that_was_not_measured_is_empty(
    tmp_path: Path, sites: tuple[Task, Task]
) -> None:
    here, there = sites
    # Learnt here a label is missing, which then counts in one cell only.
    here.splits["train"].labels[:, 1] = 0
    boards = boards_of(tmp_path, [there, crossed(here, there)])
    (found,) = transfers(boards)
    assert set(found.cells) == {("here", "there"), ("there", "there")}
    assert found.other == {("there", "there")}
    assert "‡ Other test cases or labels" in markdown(boards)


def test_without_a_second_data_set_there_is_no_table(
    tmp_path: Path, sites: tuple[Task, Task]
) -> None:
    boards = boards_of(tmp_path, sites)
    assert list(transfers(boards)) == []
    assert "Learnt here" not in markdown(boards)
    assert 'id="transfers"' not in page(boards)
