"""A random init is several draws of weights, shown as one baseline with its spread."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from tests.evaluation.stubs import block_task
from vlp_zoo.bench.suite import Candidate, candidates_of, cells_of, evaluate_task
from vlp_zoo.bench.table import result_tables, verdicts
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.evaluation.classification.linear_probe import LinearProbe
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.results import Result, ResultStore
from vlp_zoo.leaderboard.boards import Entry, make_boards
from vlp_zoo.leaderboard.compare import compare
from vlp_zoo.leaderboard.runs import read_runs
from vlp_zoo.leaderboard.text import caption, markdown

RANDOM = "random init of mine"
DRAWS = [RANDOM, f"{RANDOM} (draw 1)", f"{RANDOM} (draw 2)"]


def _extraction() -> Extraction:
    return Extraction(progress=False, cache=FeatureCache(None))


def _candidates(draws: int = 3) -> list[Candidate]:
    torch.manual_seed(3)
    encoder = ImageEncoder("micro").eval()
    return candidates_of(
        ["mine"], _extraction(), load=lambda spec: encoder, random_draws=draws
    )


def _evaluate(
    folder: Path, draws: int = 3, seeds: Sequence[int] = (0,), **options: Any
) -> list[Result]:
    return evaluate_task(
        _candidates(draws),
        block_task(60),
        ResultStore(folder),
        _extraction(),
        protocols=[LinearProbe(c_grid=(0.01, 1.0))],
        seeds=seeds,
        replicates=40,
        **options,
    )


def _headlines(rows: Sequence[Result]) -> dict[str, float]:
    return {
        row.encoder: float(row.value)
        for row in rows
        if row.metric == "macro_auroc" and row.value is not None
    }


def _entry(folder: Path, **options: Any) -> tuple[Any, Entry, Entry]:
    (board,) = make_boards(read_runs([folder]), **options)
    by_name = {entry.name: entry for entry in board.entries}
    return board, by_name["mine"], by_name[RANDOM]


def test_each_draw_has_weights_and_a_run_of_its_own(tmp_path: Path) -> None:
    random = [c for c in _candidates() if c.subject.family]
    assert [c.subject.name for c in random] == DRAWS
    assert len({c.subject.sha256 for c in random}) == 3
    # The first is the one draw that there was before.
    assert random[0].subject.sha256 == _candidates(1)[1].subject.sha256
    assert {c.subject.family for c in random} == {random[0].subject.sha256}
    rows = _evaluate(tmp_path)
    gaps = [row.baseline_name for row in rows if row.baseline]
    assert gaps == [*DRAWS, "pixels", "acquisition"]


def test_a_board_shows_the_mean_of_the_draws_and_their_spread(tmp_path: Path) -> None:
    values = _headlines(_evaluate(tmp_path))
    drawn = [values[name] for name in DRAWS]
    assert len(set(drawn)) > 1
    board, mine, random = _entry(tmp_path, replicates=40)
    score = random.scores["macro_auroc"]
    assert score.value == pytest.approx(np.mean(drawn))
    assert score.sd == pytest.approx(np.std(drawn, ddof=1))
    assert (score.draws, score.covers) == (3, "draws and patients")
    gap = mine.gap("random init")
    assert gap is not None
    assert gap.baseline == RANDOM
    assert gap.estimate.value == pytest.approx(values["mine"] - np.mean(drawn))
    assert gap.estimate.draws == 3
    assert not any("drawn once" in line for line in caption(board))
    text = markdown([board])
    assert "(draw 1)" not in text


def test_a_table_shows_one_line_for_all_draws(tmp_path: Path) -> None:
    rows = _evaluate(tmp_path)
    values = _headlines(rows)
    drawn = [values[name] for name in DRAWS]
    (table,) = result_tables(rows)
    console = Console(width=200)
    with console.capture() as shown:
        console.print(table)
    text = shown.get()
    assert f"{np.mean(drawn):.3f} ± {np.std(drawn, ddof=1):.3f}" in text
    assert f"{values['mine'] - np.mean(drawn):+.3f} [" in text
    assert f"{DRAWS[1]}  " not in text
    assert "3 draws of weights" in text
    # Above a random init is who is above each of its draws.
    one_below = [
        Result(**{**vars(row), "low": 0.1 if row.baseline_name != DRAWS[2] else -0.1})
        if row.baseline
        else row
        for row in rows
    ]
    assert "NOT shown to be above random init (" in verdicts(one_below)[0]


@pytest.mark.slow
def test_several_seeds_have_a_draw_each_and_one_seed_has_all(tmp_path: Path) -> None:
    rows = _evaluate(tmp_path, seeds=(0, 1), fractions=(0.5, 1.0))
    runs = {
        (row.fraction, row.seed, row.weights_draw)
        for row in rows
        if row.encoder in DRAWS
    }
    assert runs == {
        *((0.5, 0, 0), (0.5, 1, 1), (0.5, 0, 2)),
        *((1.0, 0, 0), (1.0, 0, 1), (1.0, 0, 2)),
    }
    part, _ = make_boards(read_runs([tmp_path]), replicates=20)
    random = next(entry for entry in part.entries if entry.name == RANDOM)
    assert (len(random.runs), random.seeds) == (3, (0, 1))
    (found, _), _ = compare(read_runs([tmp_path]), "mine", RANDOM, replicates=20)
    assert found.estimate.draws == 3


@pytest.mark.parametrize(
    ("trains", "seeds", "expected"),
    [(False, (0,), [0, 1, 2]), (True, (0,), [0]), (True, (0, 1, 2), [0, 1, 2])],
)
def test_a_trained_network_is_drawn_once_a_seed(
    trains: bool, seeds: tuple[int, ...], expected: list[int]
) -> None:
    class Probe(LinearProbe):
        draws_weights = trains

    cells = cells_of(_candidates(), block_task(60), [Probe()], seeds=seeds)
    drawn = [c.candidate.subject.draw for c in cells if c.candidate.subject.family]
    assert drawn == expected


def test_one_stored_draw_stays_valid_and_is_named_one(tmp_path: Path) -> None:
    _evaluate(tmp_path, draws=1)
    # As results were written when there was only one.
    path = tmp_path / "results.jsonl"
    old = [json.loads(line) for line in path.read_text().splitlines()]
    for row in old:
        row["details"].pop("random_weights", None)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in old))
    board, mine, random = _entry(tmp_path, replicates=40)
    assert random.scores["macro_auroc"].draws == 1
    assert mine.gap("random init") is not None
    assert any("drawn once, so that another draw may" in c for c in caption(board))
    before = path.read_bytes()
    rows = _evaluate(tmp_path)
    added = path.read_bytes().removeprefix(before).splitlines()
    told = {
        (json.loads(line)["encoder"], json.loads(line)["baseline_name"])
        for line in added
    }
    # Only the other draws are computed, and they join the one that was there.
    assert told == {(name, None) for name in DRAWS[1:]} | {
        ("mine", n) for n in DRAWS[1:]
    }
    assert "3 draws of weights" in str(result_tables(rows)[0].caption)
    assert _entry(tmp_path, replicates=40)[2].scores["macro_auroc"].draws == 3
